// swift-tools-version:5.9
import PackageDescription

let names = ["executorch", "backend_coreml", "backend_xnnpack", "kernels_optimized", "kernels_quantized"]
let package = Package(
  name: "executorch",
  products: names.map { .library(name: $0, targets: ["ExecuTorch"]) },
  targets: [.target(name: "ExecuTorch")]
)
