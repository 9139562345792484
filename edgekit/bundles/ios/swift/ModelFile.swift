import CryptoKit
import Foundation

/// A file of the package, with the digest that it had when it was verified.
public struct ModelFile {
  private static let folder = "Models"
  private static let piece = 1 << 20

  public let url: URL
  /// The signature that is run; a .pte has none.
  public let signature: String
  public let inputs: [TensorSpec]
  public let outputs: [TensorSpec]
  let sha256: String

  init(
    _ name: String, sha256: String, signature: String, inputs: [TensorSpec], outputs: [TensorSpec]
  ) throws {
    self.url = try ModelFile.place(name)
    self.sha256 = sha256
    self.signature = signature
    self.inputs = inputs
    self.outputs = outputs
  }

  private static func place(_ name: String) throws -> URL {
    guard let folder = Bundle.module.resourceURL else {
      throw ModelError("the package's resources are not in the app")
    }
    return folder.appendingPathComponent(ModelFile.folder).appendingPathComponent(name)
  }

  /// Throws where it is not the file that was verified.
  func check() throws {
    let reader = try FileHandle(forReadingFrom: url)
    defer { try? reader.close() }  // it was only read
    var digest = SHA256()
    while let data = try reader.read(upToCount: ModelFile.piece), !data.isEmpty {
      digest.update(data: data)
    }
    let found = digest.finalize().map { String(format: "%02x", $0) }.joined()
    guard found == sha256 else {
      throw ModelError(
        "\(url.lastPathComponent) is not the file that was verified: SHA-256 \(found), not"
          + " \(sha256)")
    }
  }

  /// The lines of a text of the package; each ends in a newline.
  static func lines(_ name: String) throws -> [String] {
    let text = String(decoding: try Data(contentsOf: place(name)), as: UTF8.self)
    // By UTF-8's bytes: "\r\n" is a single Character, which is no "\n".
    return text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .dropLast().map { String(decoding: $0, as: UTF8.self) }
  }
}
