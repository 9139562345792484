import Foundation

/// What is wrong, in a sentence.
public struct ModelError: Swift.Error, Equatable, CustomStringConvertible, LocalizedError {
  public let description: String

  public init(_ description: String) {
    self.description = description
  }

  public var errorDescription: String? { description }
}
