/// What computes a model.
public enum Accelerator: String, CustomStringConvertible {
  case cpu = "CPU"
  case gpu = "GPU"
  /// Core ML, which chooses among CPU, GPU and Neural Engine itself.
  case coreML = "Core ML"

  public var description: String { rawValue }
}

/// A runtime with the model in it. The app's own may take the place of the package's.
public protocol Engine: AnyObject {
  /// What was applied.
  var report: Report { get }

  /// One tensor an output, in the model's order, of inputs in the model's order.
  func run(_ inputs: [Tensor]) throws -> [Tensor]
}

/// How a model is opened; what is not set is as it was when the model was verified.
public struct ModelOptions {
  /// Threads on the CPU; 0 leaves their number to the runtime.
  public var threads: Int
  /// Tried in this order until one takes the whole model; only with a `.tflite`.
  ///
  /// Empty: those for which the model was verified. Another one computes in another precision.
  public var prefer: [Accelerator]
  /// How often zeros are computed while it opens, so that the first answer does not take longer.
  public var warmUp: Int
  /// Whether the file's SHA-256 is compared with that of the file that was verified.
  public var checkHash: Bool

  public init(
    threads: Int = 0, prefer: [Accelerator] = [], warmUp: Int = 1, checkHash: Bool = true
  ) {
    self.threads = threads
    self.prefer = prefer
    self.warmUp = warmUp
    self.checkHash = checkHash
  }
}

/// What was applied when a model was opened, and what refused it before.
public struct Report: CustomStringConvertible {
  /// What the runtime took the model for; see `caveat`.
  public let applied: Accelerator
  /// "GPU: reason" for each that was tried before and refused the model, in that order.
  public let refusals: [String]
  /// Names of ExecuTorch's backends that the .pte calls; empty with a .tflite.
  public let backends: [String]
  /// Threads that were asked for; 0 where their number was left to the runtime.
  public let threads: Int
  /// What the runtime does not tell or leaves to the CPU, in a sentence; may be empty.
  public let caveat: String
  /// Whether the file was compared with the one that was verified.
  public internal(set) var hashChecked = false

  public init(
    applied: Accelerator, refusals: [String] = [], backends: [String] = [], threads: Int = 0,
    caveat: String = ""
  ) {
    self.applied = applied
    self.refusals = refusals
    self.backends = backends
    self.threads = threads
    self.caveat = caveat
  }

  public var description: String {
    var text = applied.rawValue
    if !backends.isEmpty { text += " [\(backends.joined(separator: ", "))]" }
    if applied == .cpu {
      text += threads == 0 ? ", threads as the runtime likes" : ", threads: \(threads)"
    }
    for refusal in refusals { text += "; refused by \(refusal)" }
    if !hashChecked { text += "; the file's hash was not checked" }
    return caveat.isEmpty ? text : "\(text). \(caveat)"
  }
}
