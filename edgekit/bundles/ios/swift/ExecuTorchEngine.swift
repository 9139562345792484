import ExecuTorch
import Foundation

/// ExecuTorch's Module: a .pte, whose delegate was chosen when it was made.
final class ExecuTorchEngine: Engine {
  private static let method = "forward"

  let report: Report
  private let outputs: [TensorSpec]
  private let module: ExecuTorch.Module

  init(_ file: ModelFile, _ options: ModelOptions, usual: Accelerator) throws {
    guard options.prefer.isEmpty else {
      throw ModelError(
        "the delegate of a .pte was chosen when it was made; leave prefer away, or bundle the"
          + " variant for the other accelerator")
    }
    guard options.threads == 0 else {
      throw ModelError("ExecuTorch's Swift package does not set threads; leave them away")
    }
    outputs = file.outputs
    module = ExecuTorch.Module(filePath: file.url.path, loadMode: .mmap)
    try module.load(ExecuTorchEngine.method)
    let backends = try module.methodMetadata(ExecuTorchEngine.method).backendNames
    let rest = "ExecuTorch computes on the CPU what the .pte does not hand to a backend"
    report = Report(
      applied: backends.isEmpty ? .cpu : usual, backends: backends,
      caveat: usual == .cpu ? "" : rest)
  }

  func run(_ given: [Tensor]) throws -> [Tensor] {
    let fed = given.map { tensor -> any ExecuTorch.ValueConvertible in
      switch tensor.values {
      case .uint8(let all): return ExecuTorch.Tensor<UInt8>(all, shape: tensor.shape)
      case .int8(let all): return ExecuTorch.Tensor<Int8>(all, shape: tensor.shape)
      case .int16(let all): return ExecuTorch.Tensor<Int16>(all, shape: tensor.shape)
      case .int32(let all): return ExecuTorch.Tensor<Int32>(all, shape: tensor.shape)
      case .int64(let all): return ExecuTorch.Tensor<Int64>(all, shape: tensor.shape)
      case .float32(let all): return ExecuTorch.Tensor<Float>(all, shape: tensor.shape)
      case .bool(let all): return ExecuTorch.Tensor<Bool>(all, shape: tensor.shape)
      }
    }
    let answers: [ExecuTorch.Value] = try module.forward(fed)
    guard answers.count == outputs.count else {
      throw ModelError("ExecuTorch gave \(answers.count) outputs, not \(outputs.count)")
    }
    return try zip(outputs, answers).map { spec, answer in
      switch spec.kind {
      case .uint8: return try made(spec, answer) { .uint8($0) }
      case .int8: return try made(spec, answer) { .int8($0) }
      case .int16: return try made(spec, answer) { .int16($0) }
      case .int32: return try made(spec, answer) { .int32($0) }
      case .int64: return try made(spec, answer) { .int64($0) }
      case .float32: return try made(spec, answer) { .float32($0) }
      case .bool: return try made(spec, answer) { .bool($0) }
      }
    }
  }

  private func made<T: ExecuTorch.Scalar>(
    _ spec: TensorSpec, _ answer: ExecuTorch.Value, _ wrap: ([T]) -> Tensor.Values
  ) throws -> Tensor {
    guard let tensor: ExecuTorch.Tensor<T> = answer.tensor() else {
      throw ModelError("output '\(spec.name)' is no tensor of \(spec.kind.rawValue)")
    }
    return try Tensor(wrap(tensor.scalars()), shape: tensor.shape)
  }
}
