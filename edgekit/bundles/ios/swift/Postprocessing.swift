import Foundation

/// What is made of a model's answers.
public enum Postprocessing {
  /// Real numbers: scale x (stored - zero point) in float32 where the output is quantized.
  static func toReal(_ spec: TensorSpec, _ stored: Tensor) throws -> [Float] {
    if case .float32(let all) = stored.values { return all }
    let wholes = try stored.wholes()
    let slices = spec.axis.map { stored.shape[$0] } ?? 1
    let inner = spec.axis.map { stored.shape[($0 + 1)...].reduce(1, *) } ?? 1
    return wholes.indices.map { at in
      let slice = spec.axis == nil ? 0 : at / inner % slices
      let scale = spec.scale[spec.scale.count == 1 ? 0 : slice]
      let zeroPoint = spec.zeroPoint[spec.zeroPoint.count == 1 ? 0 : slice]
      return Float(wholes[at] - zeroPoint) * scale
    }
  }

  /// Probabilities that add up to one, of the scores (logits) of one sample.
  ///
  /// Nothing here does this of itself: many models end in a softmax already, and a second one would
  /// flatten their answers.
  public static func softmax(_ scores: [Float]) -> [Float] {
    guard let largest = scores.max() else { return [] }
    let parts = scores.map { exp(Double($0) - Double(largest)) }
    let sum = parts.reduce(0, +)
    return parts.map { Float($0 / sum) }
  }

  /// The classes with the highest scores, best first; of equal ones that of lower index.
  static func top(_ scores: [Float], _ labels: [String], _ count: Int) -> [Label] {
    let named = labels.count == scores.count
    let all = scores.indices.map { at in
      Label(index: at, name: named ? labels[at] : "", score: scores[at])
    }
    let sorted = all.sorted { ($1.score, $0.index) < ($0.score, $1.index) }
    return Array(sorted.prefix(max(count, 0)))
  }
}

/// A class with its score.
public struct Label: Equatable, CustomStringConvertible {
  /// Its place among the scores, from 0.
  public let index: Int
  /// From labels.txt; empty where the labels do not name these scores.
  public let name: String
  /// As the model gives it, in real numbers.
  public let score: Float

  public var description: String { "\(name.isEmpty ? "[\(index)]" : name) \(score)" }
}
