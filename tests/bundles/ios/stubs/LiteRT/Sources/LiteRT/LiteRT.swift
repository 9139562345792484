import Foundation

public enum LiteRtError: Swift.Error {
  case compilation, invalidArgument, fileIO
}

public enum Accelerator: Int32 {
  case none = 0
  case cpu = 1
  case gpu = 2
  case npu = 4
}

public final class Environment {
  public init() throws {}
}

public protocol ConcreteOptions {}

public final class CpuOptions: ConcreteOptions {
  var threads = 0
  public init() throws {}
  public func setNumThreads(_ numThreads: Int) throws { threads = numThreads }
}

public final class Options {
  var accelerators: Set<Accelerator> = []
  public init() throws {}
  public func setHardwareAccelerators(_ accelerators: Set<Accelerator>) throws {
    self.accelerators = accelerators
  }
  public func addConcreteOptions(_ concreteOptions: ConcreteOptions) throws {}
}

public final class TensorBuffer {
  let name: String
  fileprivate(set) var bytes: [UInt8]

  fileprivate init(_ line: Substring) {
    let words = line.split(whereSeparator: { "= ".contains($0) })
    name = String(words[0].dropFirst(words[0].hasPrefix("in.") ? 3 : 4))
    let sizes = ["float32": 4, "int32": 4, "int64": 8, "int16": 2]
    bytes = [UInt8](repeating: 0, count: (sizes[String(words[1])] ?? 1) * Int(words[2])!)
  }

  public func write<T>(_ data: [T]) throws {
    let given = data.withUnsafeBytes(Array.init)
    guard given.count == bytes.count else { throw LiteRtError.invalidArgument }
    bytes = given
  }

  public func read<T>() throws -> [T] {
    bytes.withUnsafeBytes { raw in
      (0..<raw.count / MemoryLayout<T>.stride).map {
        raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<T>.stride, as: T.self)
      }
    }
  }
}

extension UnsafeRawBufferPointer {
  /// Of any T, also one that is not bitwise copyable to the compiler.
  fileprivate func loadUnaligned<T>(fromByteOffset offset: Int, as type: T.Type) -> T {
    let place = UnsafeMutablePointer<T>.allocate(capacity: 1)
    defer { place.deallocate() }
    UnsafeMutableRawPointer(place).copyMemory(
      from: baseAddress!.advanced(by: offset), byteCount: MemoryLayout<T>.stride)
    return place.pointee
  }
}

public final class CompiledModel {
  private let lines: [Substring]

  public init(filePath: String, environment: Environment, options: Options? = nil) throws {
    guard let text = try? String(contentsOfFile: filePath, encoding: .utf8) else {
      throw LiteRtError.fileIO
    }
    lines = text.split(separator: "\n")
    let wanted = options?.accelerators ?? [.cpu]
    let names: [Accelerator: String] = [.cpu: "CPU", .gpu: "GPU", .npu: "NPU"]
    let accepts = lines.first { $0.hasPrefix("accepts=") } ?? ""
    guard wanted.contains(where: { accepts.contains(names[$0]!) }) else {
      throw LiteRtError.compilation
    }
  }

  private func named(_ prefix: String) -> [TensorBuffer] {
    lines.filter { $0.hasPrefix(prefix) }.map(TensorBuffer.init)
  }

  public func signatureKeys() throws -> [String] { ["other", "serving_default"] }
  public func isFullyAccelerated() throws -> Bool { lines.contains("whole") }
  public func createInputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] { named("in.") }
  public func createOutputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] {
    named("out.")
  }
  public func inputName(inputIndex: Int, signatureIndex: Int = 0) throws -> String {
    named("in.")[inputIndex].name
  }
  public func outputName(outputIndex: Int, signatureIndex: Int = 0) throws -> String {
    named("out.")[outputIndex].name
  }

  public func run(
    inputs: [TensorBuffer], outputs: [TensorBuffer], options: Options? = nil,
    signatureIndex: Int = 0
  ) throws {
    guard signatureIndex == 1 else { throw LiteRtError.invalidArgument }
    for output in outputs {
      output.bytes = Array(inputs[0].bytes.prefix(output.bytes.count))
    }
  }
}
