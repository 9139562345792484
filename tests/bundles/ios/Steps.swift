// Does the steps that it reads, on the numbers behind them, until its input ends. A line of JSON,
// then the numbers as they lie in memory; the same comes back.
import Foundation

@testable import EdgekitModels

struct Step: Decodable {
  let op: String
  let height: Int?
  let width: Int?
  let size: Int?
  let method: String?
  let to: String?
  let dtype: String?
  let mean: [Float]?
  let std: [Float]?
  let scale: Float?
  let zero_point: Int?
  let axis: Int?
  let scales: [Float]?
  let zero_points: [Int]?
}

struct Asked: Decodable {
  let steps: [Step]
  let kind: String
  let shape: [Int]
}

func made(_ step: Step, _ values: Tensor) throws -> Tensor {
  let near = step.method == "nearest"
  switch step.op {
  case "resize":
    return near
      ? try Preprocessing.resizeNearest(values, step.height!, step.width!)
      : try Preprocessing.resizeBilinear(values, step.height!, step.width!)
  case "resize-short-side":
    return near
      ? try Preprocessing.resizeShortSideNearest(values, step.size!)
      : try Preprocessing.resizeShortSideBilinear(values, step.size!)
  case "center-crop": return try Preprocessing.centerCrop(values, step.height!, step.width!)
  case "color":
    return step.to == "bgr" ? try Preprocessing.bgr(values) : try Preprocessing.gray(values)
  case "normalize": return try Preprocessing.normalize(values, step.mean!, step.std!)
  case "layout": return try Preprocessing.channelsFirst(values)
  case "cast":
    return step.dtype == "float32"
      ? try Preprocessing.castToFloat32(values)
      : try Preprocessing.cast(values, Tensor.Kind(rawValue: step.dtype!)!)
  case "quantize":
    let kind = Tensor.Kind(rawValue: step.dtype!)!
    return try Preprocessing.quantize(values, step.scale!, step.zero_point!, kind)
  case "to-real":
    let spec = TensorSpec(
      name: "", kind: values.kind, shape: values.shape, unit: "", least: values.shape,
      scale: step.scales!, zeroPoint: step.zero_points!, axis: step.axis)
    return try Tensor(.float32(try Postprocessing.toReal(spec, values)), shape: values.shape)
  case "softmax":
    return try Tensor(.float32(Postprocessing.softmax(values.float32s())), shape: values.shape)
  default: throw ModelError("no step \(step.op)")
  }
}

func numbers(_ kind: Tensor.Kind, _ bytes: Data, _ shape: [Int]) throws -> Tensor {
  func all<T>(_: T.Type) -> [T] {
    [T](unsafeUninitializedCapacity: bytes.count / MemoryLayout<T>.stride) { buffer, count in
      count = bytes.copyBytes(to: buffer) / MemoryLayout<T>.stride
    }
  }
  switch kind {
  case .uint8: return try Tensor(.uint8(all(UInt8.self)), shape: shape)
  case .int8: return try Tensor(.int8(all(Int8.self)), shape: shape)
  case .int16: return try Tensor(.int16(all(Int16.self)), shape: shape)
  case .int32: return try Tensor(.int32(all(Int32.self)), shape: shape)
  case .int64: return try Tensor(.int64(all(Int64.self)), shape: shape)
  case .float32: return try Tensor(.float32(all(Float.self)), shape: shape)
  case .bool: return try Tensor(.bool(all(UInt8.self).map { $0 != 0 }), shape: shape)
  }
}

func bytes(_ tensor: Tensor) -> Data {
  switch tensor.values {
  case .uint8(let all): return Data(all)
  case .int8(let all): return all.withUnsafeBytes { Data($0) }
  case .int16(let all): return all.withUnsafeBytes { Data($0) }
  case .int32(let all): return all.withUnsafeBytes { Data($0) }
  case .int64(let all): return all.withUnsafeBytes { Data($0) }
  case .float32(let all): return all.withUnsafeBytes { Data($0) }
  case .bool(let all): return Data(all.map { $0 ? 1 : 0 })
  }
}

let sizes: [Tensor.Kind: Int] = [
  .uint8: 1, .int8: 1, .int16: 2, .int32: 4, .int64: 8, .float32: 4, .bool: 1,
]
let (reader, writer) = (FileHandle.standardInput, FileHandle.standardOutput)

func read(_ count: Int) -> Data {
  var data = Data()
  while data.count < count {
    let more = reader.readData(ofLength: count - data.count)
    if more.isEmpty { exit(1) }
    data += more
  }
  return data
}

while let line = readHead() {
  let asked = try JSONDecoder().decode(Asked.self, from: line)
  let kind = Tensor.Kind(rawValue: asked.kind)!
  var values = try numbers(kind, read(asked.shape.reduce(sizes[kind]!, *)), asked.shape)
  do {
    for step in asked.steps { values = try made(step, values) }
    let head: [String: Any] = ["kind": values.kind.rawValue, "shape": values.shape]
    writer.write(try JSONSerialization.data(withJSONObject: head) + Data([10]) + bytes(values))
  } catch let error as ModelError {
    let head = ["error": error.description]
    writer.write(try JSONSerialization.data(withJSONObject: head) + Data([10]))
  }
}

func readHead() -> Data? {
  var line = Data()
  while true {
    let next = reader.readData(ofLength: 1)
    if next.isEmpty { return nil }
    if next[next.startIndex] == 10 { return line }
    line += next
  }
}
