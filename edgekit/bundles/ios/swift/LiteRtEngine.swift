import Foundation
import LiteRT

/// LiteRT's CompiledModel: a .tflite on the first accelerator that takes it.
final class LiteRtEngine: Engine {
  let report: Report
  private let inputs: [TensorSpec]
  private let outputs: [TensorSpec]
  private let model: LiteRT.CompiledModel
  private let signature: Int
  // In the order of the file's signature, which need not be the manifest's.
  private let fed: [LiteRT.TensorBuffer]
  private let answered: [LiteRT.TensorBuffer]
  private let inputPlaces: [Int]
  private let outputPlaces: [Int]

  init(_ file: ModelFile, _ options: ModelOptions, usual: [Accelerator]) throws {
    let order = options.prefer.isEmpty ? usual : options.prefer
    let environment = try LiteRT.Environment()
    var refusals: [String] = []
    var found: (Accelerator, LiteRT.CompiledModel)?
    for each in order where found == nil {
      do {
        found = (each, try LiteRtEngine.open(file, environment, each, options.threads))
      } catch {
        refusals.append("\(each): \(error)")
      }
    }
    guard let (applied, model) = found else {
      let tried = refusals.joined(separator: "; ")
      throw ModelError("LiteRT does not open \(file.url.lastPathComponent): \(tried)")
    }
    self.model = model
    let keys = try model.signatureKeys()
    // A file without signatures has a single one, by a name of LiteRT's own.
    guard let signature = keys.firstIndex(of: file.signature) ?? (keys.count == 1 ? 0 : nil) else {
      throw ModelError("\(file.url.lastPathComponent) has no signature '\(file.signature)'")
    }
    self.signature = signature
    inputs = file.inputs
    outputs = file.outputs
    fed = try model.createInputBuffers(signatureIndex: signature)
    answered = try model.createOutputBuffers(signatureIndex: signature)
    let inputNames = try fed.indices.map {
      try model.inputName(inputIndex: $0, signatureIndex: signature)
    }
    let outputNames = try answered.indices.map {
      try model.outputName(outputIndex: $0, signatureIndex: signature)
    }
    inputPlaces = try LiteRtEngine.places(inputs, inputNames)
    outputPlaces = try LiteRtEngine.places(outputs, outputNames)
    report = Report(
      applied: applied, refusals: refusals, threads: options.threads,
      caveat: applied == .cpu ? "" : LiteRtEngine.caveat(model))
  }

  /// One accelerator alone: with the CPU beside it a refusal would go unseen.
  private static func open(
    _ file: ModelFile, _ environment: LiteRT.Environment, _ accelerator: Accelerator,
    _ threads: Int
  ) throws -> LiteRT.CompiledModel {
    let settings = try LiteRT.Options()
    switch accelerator {
    case .cpu:
      try settings.setHardwareAccelerators([.cpu])
      if threads > 0 {
        let cpu = try LiteRT.CpuOptions()
        try cpu.setNumThreads(threads)
        try settings.addConcreteOptions(cpu)
      }
    case .gpu:
      try settings.setHardwareAccelerators([.gpu])
    case .coreML:
      throw ModelError("LiteRT's Swift package has no Core ML; take a .pte for Core ML")
    }
    return try LiteRT.CompiledModel(
      filePath: file.url.path, environment: environment, options: settings)
  }

  private static func caveat(_ model: LiteRT.CompiledModel) -> String {
    guard let all = try? model.isFullyAccelerated() else {
      return "LiteRT does not tell whether it leaves a part of the model to the CPU"
    }
    return all ? "" : "LiteRT leaves a part of the model to the CPU"
  }

  private static func places(_ specs: [TensorSpec], _ names: [String]) throws -> [Int] {
    guard names.count == specs.count else {
      throw ModelError("the file has \(names.count) tensors where \(specs.count) were verified")
    }
    return try specs.map { spec in
      guard let place = names.firstIndex(of: spec.name) else {
        throw ModelError("the file has no '\(spec.name)' among \(names.joined(separator: ", "))")
      }
      return place
    }
  }

  func run(_ given: [Tensor]) throws -> [Tensor] {
    for (tensor, place) in zip(given, inputPlaces) {
      switch tensor.values {
      case .uint8(let all): try fed[place].write(all)
      case .int8(let all): try fed[place].write(all)
      case .int16(let all): try fed[place].write(all)
      case .int32(let all): try fed[place].write(all)
      case .int64(let all): try fed[place].write(all)
      case .float32(let all): try fed[place].write(all)
      case .bool(let all): try fed[place].write(all)
      }
    }
    try model.run(inputs: fed, outputs: answered, signatureIndex: signature)
    return try zip(outputs, outputPlaces).map { spec, place in
      let values: Tensor.Values
      switch spec.kind {
      case .uint8: values = .uint8(try answered[place].read())
      case .int8: values = .int8(try answered[place].read())
      case .int16: values = .int16(try answered[place].read())
      case .int32: values = .int32(try answered[place].read())
      case .int64: values = .int64(try answered[place].read())
      case .float32: values = .float32(try answered[place].read())
      case .bool: values = .bool(try answered[place].read())
      }
      return try Tensor(values, shape: spec.shape)
    }
  }
}
