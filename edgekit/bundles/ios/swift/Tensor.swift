import Foundation

/// Numbers of one type with a shape, the last axis running fastest.
public struct Tensor: Equatable, CustomStringConvertible {
  /// What a number is.
  public enum Kind: String {
    case uint8, int8, int16, int32, int64, float32, bool
  }

  /// The numbers themselves.
  public enum Values: Equatable {
    case uint8([UInt8])
    case int8([Int8])
    case int16([Int16])
    case int32([Int32])
    case int64([Int64])
    case float32([Float])
    case bool([Bool])
  }

  public let values: Values
  public let shape: [Int]
  /// Whether a layout step has moved the channels to the front.
  let channelsFirst: Bool

  /// Throws where the shape is of another count than the values.
  public init(_ values: Values, shape: [Int]) throws {
    try self.init(values, shape: shape, channelsFirst: false)
  }

  init(_ values: Values, shape: [Int], channelsFirst: Bool) throws {
    let count = try Tensor.count(shape)
    self.values = values
    self.shape = shape
    self.channelsFirst = channelsFirst
    guard self.count == count else {
      throw ModelError("\(self.count) numbers for the shape \(Tensor.sizes(shape))")
    }
  }

  /// All zeros.
  static func zeros(_ kind: Kind, _ shape: [Int]) throws -> Tensor {
    let count = try count(shape)
    let values: Values
    switch kind {
    case .uint8: values = .uint8([UInt8](repeating: 0, count: count))
    case .int8: values = .int8([Int8](repeating: 0, count: count))
    case .int16: values = .int16([Int16](repeating: 0, count: count))
    case .int32: values = .int32([Int32](repeating: 0, count: count))
    case .int64: values = .int64([Int64](repeating: 0, count: count))
    case .float32: values = .float32([Float](repeating: 0, count: count))
    case .bool: values = .bool([Bool](repeating: false, count: count))
    }
    return try Tensor(values, shape: shape)
  }

  public var kind: Kind {
    switch values {
    case .uint8: return .uint8
    case .int8: return .int8
    case .int16: return .int16
    case .int32: return .int32
    case .int64: return .int64
    case .float32: return .float32
    case .bool: return .bool
    }
  }

  public var count: Int {
    switch values {
    case .uint8(let all): return all.count
    case .int8(let all): return all.count
    case .int16(let all): return all.count
    case .int32(let all): return all.count
    case .int64(let all): return all.count
    case .float32(let all): return all.count
    case .bool(let all): return all.count
    }
  }

  /// The same numbers with another shape of the same count.
  func shaped(_ shape: [Int]) throws -> Tensor {
    try Tensor(values, shape: shape)
  }

  /// Every number as Float, the nearest one; throws for truth values.
  func reals() throws -> [Float] {
    switch values {
    case .float32(let all): return all
    default: return try wholes().map { Float($0) }
    }
  }

  /// Every number as Int; throws where they are real or truth values.
  func wholes() throws -> [Int] {
    switch values {
    case .uint8(let all): return all.map { Int($0) }
    case .int8(let all): return all.map { Int($0) }
    case .int16(let all): return all.map { Int($0) }
    case .int32(let all): return all.map { Int($0) }
    case .int64(let all): return all.map { Int($0) }
    case .float32, .bool: throw ModelError("a tensor of \(kind.rawValue) has no whole numbers")
    }
  }

  static func count(_ shape: [Int]) throws -> Int {
    var count = 1
    for size in shape {
      guard size >= 0 else { throw ModelError("a shape with \(size) in it") }
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard !overflow else { throw ModelError("more numbers than an array holds") }
      count = product
    }
    return count
  }

  static func sizes(_ shape: [Int]) -> String {
    shape.isEmpty ? "scalar" : shape.map(String.init).joined(separator: "x")
  }

  public var description: String { "\(kind.rawValue) \(Tensor.sizes(shape))" }
}

extension Tensor {
  /// Of the array that it holds; throws where that is of another type.
  func uint8s() throws -> [UInt8] {
    guard case .uint8(let all) = values else { throw mismatch(.uint8) }
    return all
  }

  func int8s() throws -> [Int8] {
    guard case .int8(let all) = values else { throw mismatch(.int8) }
    return all
  }

  func int16s() throws -> [Int16] {
    guard case .int16(let all) = values else { throw mismatch(.int16) }
    return all
  }

  func int32s() throws -> [Int32] {
    guard case .int32(let all) = values else { throw mismatch(.int32) }
    return all
  }

  func int64s() throws -> [Int64] {
    guard case .int64(let all) = values else { throw mismatch(.int64) }
    return all
  }

  func float32s() throws -> [Float] {
    guard case .float32(let all) = values else { throw mismatch(.float32) }
    return all
  }

  func bools() throws -> [Bool] {
    guard case .bool(let all) = values else { throw mismatch(.bool) }
    return all
  }

  private func mismatch(_ wanted: Kind) -> ModelError {
    ModelError("a tensor of \(kind.rawValue) is not one of \(wanted.rawValue)")
  }
}
