import XCTest

@testable import EdgekitModels

/// What is given, and the tensor that must come of it.
struct Vector {
  let given: Tensor
  let wanted: Tensor

  /// Fails unless `made` is what is wanted, to the bit.
  func expect(_ made: Tensor, file: StaticString = #filePath, line: UInt = #line) {
    XCTAssertEqual(made.kind, wanted.kind, file: file, line: line)
    XCTAssertEqual(made.shape, wanted.shape, file: file, line: line)
    let (found, right) = (made.bytes, wanted.bytes)
    if found != right {
      let at = zip(found, right).enumerated().first { $1.0 != $1.1 }?.offset
      XCTFail("another byte at \(at ?? min(found.count, right.count))", file: file, line: line)
    }
  }
}

private struct Listed: Decodable {
  struct Stored: Decodable {
    let kind: String
    let shape: [Int]
    let file: String
  }
  struct Pair: Decodable {
    let given: Stored
    let wanted: Stored
  }
  let schema: Int
  let vectors: [String: [Pair]]
}

/// Those of one function, which is named as in vectors.json.
func vectors(of name: String) throws -> [Vector] {
  let folder = try XCTUnwrap(Bundle.module.resourceURL).appendingPathComponent("Vectors")
  let data = try Data(contentsOf: folder.appendingPathComponent("vectors.json"))
  let listed = try JSONDecoder().decode(Listed.self, from: data)
  XCTAssertEqual(listed.schema, 1)
  func tensor(_ stored: Listed.Stored) throws -> Tensor {
    let bytes = try Data(contentsOf: folder.appendingPathComponent(stored.file))
    let kind = try XCTUnwrap(Tensor.Kind(rawValue: stored.kind))
    return try Tensor(kind, littleEndian: bytes, shape: stored.shape)
  }
  let found = try XCTUnwrap(listed.vectors[name])
  XCTAssertFalse(found.isEmpty)
  return try found.map { Vector(given: try tensor($0.given), wanted: try tensor($0.wanted)) }
}

extension Tensor {
  /// Of numbers as they lie in a file, which is how they lie in memory on every Apple device.
  init(_ kind: Kind, littleEndian bytes: Data, shape: [Int]) throws {
    func all<T>(_: T.Type) -> [T] {
      // Copied byte by byte: Data need not lie as T has to.
      [T](unsafeUninitializedCapacity: bytes.count / MemoryLayout<T>.stride) { buffer, count in
        count = bytes.copyBytes(to: buffer) / MemoryLayout<T>.stride
      }
    }
    let values: Values
    switch kind {
    case .uint8: values = .uint8(all(UInt8.self))
    case .int8: values = .int8(all(Int8.self))
    case .int16: values = .int16(all(Int16.self))
    case .int32: values = .int32(all(Int32.self))
    case .int64: values = .int64(all(Int64.self))
    case .float32: values = .float32(all(Float.self))
    case .bool: values = .bool(all(UInt8.self).map { $0 != 0 })
    }
    try self.init(values, shape: shape)
  }

  /// The numbers as they lie in memory.
  var bytes: [UInt8] {
    switch values {
    case .uint8(let all): return all
    case .int8(let all): return all.withUnsafeBytes(Array.init)
    case .int16(let all): return all.withUnsafeBytes(Array.init)
    case .int32(let all): return all.withUnsafeBytes(Array.init)
    case .int64(let all): return all.withUnsafeBytes(Array.init)
    case .float32(let all): return all.withUnsafeBytes(Array.init)
    case .bool(let all): return all.map { $0 ? 1 : 0 }
    }
  }
}
