// swift-tools-version:5.9
import PackageDescription

let names = ["CryptoKit", "CoreGraphics", "CoreVideo"]
let package = Package(
  name: "Apple",
  products: names.map { .library(name: $0, targets: [$0]) },
  targets: names.map { .target(name: $0) }
)
