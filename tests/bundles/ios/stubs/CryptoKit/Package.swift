// swift-tools-version:5.9
import PackageDescription

let package = Package(
  name: "CryptoKit",
  products: [.library(name: "CryptoKit", targets: ["CryptoKit"])],
  targets: [.target(name: "CryptoKit")]
)
