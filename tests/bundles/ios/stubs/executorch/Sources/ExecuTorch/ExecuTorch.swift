import Foundation

/// ExecuTorch has a class of this name, which stands before Swift's own where it is imported.
public struct Error: Swift.Error {
  public let code: Int
}

public protocol Scalar {}
extension UInt8: Scalar {}
extension Int8: Scalar {}
extension Int16: Scalar {}
extension Int32: Scalar {}
extension Int64: Scalar {}
extension Float: Scalar {}
extension Bool: Scalar {}

public protocol ValueConvertible {
  func asValue() -> Value
}

public protocol ValueSequenceConstructible {
  static func from(_ values: [Value]) throws -> Self
}

extension Array: ValueSequenceConstructible where Element == Value {
  public static func from(_ values: [Value]) throws -> [Value] { values }
}

public final class AnyTensor {
  let scalars: [Any]
  public let shape: [Int]
  init(_ scalars: [Any], _ shape: [Int]) {
    self.scalars = scalars
    self.shape = shape
  }
}

public final class Tensor<T: Scalar>: ValueConvertible {
  public let anyTensor: AnyTensor
  public init(_ scalars: [T], shape: [Int] = []) { anyTensor = AnyTensor(scalars, shape) }
  public var shape: [Int] { anyTensor.shape }
  public func scalars() -> [T] { anyTensor.scalars.map { $0 as! T } }
  public func asValue() -> Value { Value(anyTensor) }
}

public final class Value {
  let anyTensor: AnyTensor
  init(_ tensor: AnyTensor) { anyTensor = tensor }
  public func tensor<T: Scalar>() -> Tensor<T>? {
    guard let scalars = anyTensor.scalars as? [T] else { return nil }
    return Tensor(scalars, shape: anyTensor.shape)
  }
}

public final class MethodMetadata {
  public let backendNames: [String]
  init(_ names: [String]) { backendNames = names }
}

public enum ModuleLoadMode: Int {
  case file, mmap
}

public final class Module {
  private let path: String
  private var text = ""

  public init(filePath: String, loadMode: ModuleLoadMode = .file) { path = filePath }

  public func load(_ method: String) throws {
    guard method == "forward" else { throw Error(code: 1) }
    text = try String(contentsOfFile: path, encoding: .utf8)
  }

  public func methodMetadata(_ method: String) throws -> MethodMetadata {
    MethodMetadata(text.split(separator: "\n").map(String.init))
  }

  public func forward(_ inputs: [ValueConvertible]) throws -> [Value] { [inputs[0].asValue()] }

  public func forward<Output: ValueSequenceConstructible>(
    _ inputs: [ValueConvertible]
  ) throws -> Output {
    try Output.from(inputs.map { $0.asValue() })
  }
}
