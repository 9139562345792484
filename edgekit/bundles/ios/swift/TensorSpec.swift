/// Name, type, shape and unit of an input or output.
public struct TensorSpec: CustomStringConvertible {
  /// As in the manifest and in the model's file.
  public let name: String
  public let kind: Tensor.Kind
  /// The batch first; the largest size of an axis that takes any of a range.
  public let shape: [Int]
  /// What the numbers are, in words.
  public let unit: String
  let least: [Int]
  let scale: [Float]
  let zeroPoint: [Int]
  /// Of the scales; nil where one is for all.
  let axis: Int?

  /// Whether its integers stand for real numbers: scale x (stored - zero point).
  public var isQuantized: Bool { !scale.isEmpty }

  func takes(_ given: [Int]) -> Bool {
    given.count == shape.count
      && given.indices.allSatisfy { least[$0] <= given[$0] && given[$0] <= shape[$0] }
  }

  var sizes: String {
    guard !shape.isEmpty else { return "scalar" }
    let words = zip(least, shape).map { $0 == $1 ? "\($1)" : "\($0)..\($1)" }
    return words.joined(separator: "x")
  }

  public var description: String { "\(name) \(kind.rawValue) \(sizes) (\(unit))" }
}
