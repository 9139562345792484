// What an app sees of the model "picture": a report, answers, refusals. A line for each.
import CoreGraphics
import CoreVideo
import EdgekitModels
import Foundation

let rgb = (0..<36 * 9).map { UInt8(7 * $0 % 256) }

func picture() throws -> Picture {
  try Picture(rgb: rgb, width: 9, height: 12)
}

func refused(_ work: () throws -> Void) {
  do {
    try work()
    print("taken")
  } catch { print("refused: \(error.localizedDescription)") }
}

/// A runtime of the app's own.
final class Mine: Engine {
  let report = Report(applied: .coreML, caveat: "mine")
  func run(_ inputs: [Tensor]) throws -> [Tensor] {
    [try Tensor(.float32([1, 3, 3]), shape: [1, 3])]
  }
}

let model = try AllPicture(ModelOptions(threads: 2))
print(model.report)
print(model.labels)
let answer = try model.run(image: picture())
print(answer.scores, answer.scoresShape)
print(answer.best.score == answer.scores.max()!, answer.top(2).map(\.index))
let image = try model.run(image: CGImage(rgb: rgb, width: 9, height: 12))
let frame = try model.run(image: CVPixelBuffer(rgb: rgb, width: 9, height: 12))
print(image.scores == answer.scores, frame.scores == answer.scores)
refused { _ = try model.run(image: CVPixelBuffer(rgb: rgb, width: 9, height: 12, format: 32)) }
model.close()
model.close()
refused { _ = try model.run(image: picture()) }

print(try AllPicture(ModelOptions(prefer: [.gpu, .cpu], warmUp: 0)).report)
refused { _ = try AllPicture(ModelOptions(prefer: [.coreML])) }
print(try All3dRmRf().report)
let own = try AllPicture { _, _ in Mine() }
print(own.report, try own.run(image: picture()).top(2))

print(try AllPlanes(ModelOptions(warmUp: 0)).report)
refused { _ = try AllPlanes(ModelOptions(threads: 2)) }
refused { _ = try AllPlanes(ModelOptions(prefer: [.cpu])) }
let tokens = try AllOpen(ModelOptions(warmUp: 0))
print(tokens.report)
print(try tokens.run(tokens: Tensor(.int64([Int64](1...17)), shape: [17])).outShape)
refused { _ = try tokens.run(tokens: Tensor(.int64([1]), shape: [1])) }
refused { _ = try AllPixels().run(image: picture()) }

// The file is changed, as somebody who means to deceive would.
let place = Bundle.main.bundleURL.appendingPathComponent(
  "AllModels_AllModels.resources/Models/" + AllPicture.fileName)
let before = try Data(contentsOf: place)
try (before + Data("more\n".utf8)).write(to: place)
refused { _ = try AllPicture() }
print(try AllPicture(ModelOptions(checkHash: false)).report)
try before.write(to: place)
