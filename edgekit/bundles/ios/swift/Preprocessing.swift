/// The steps that make an input of a picture or of numbers, to the bit as edgekit does them.
///
/// Where a model was verified, its inputs were made by these steps; one that is made in another way
/// (by Core Graphics' or vImage's scaling, say) is another input. All of them throw a `ModelError`
/// where a step does not fit what it gets.
enum Preprocessing {
  private static let fractionBits = 11
  private static let one = 1 << fractionBits

  /// To height x width pixels; half-pixel centres, no antialiasing, 11 fractional bits.
  static func resizeBilinear(_ image: Tensor, _ height: Int, _ width: Int) throws -> Tensor {
    let pixels = try pixels(image, "resize")
    let from = image.shape[1]
    let channels = image.shape[2]
    let rows = neighbours(image.shape[0], height)
    let columns = neighbours(from, width)
    let half = 1 << (2 * fractionBits - 1)
    var made = [UInt8](repeating: 0, count: try Tensor.count([height, width, channels]))
    pixels.withUnsafeBufferPointer { pixels in
      made.withUnsafeMutableBufferPointer { made in
        var at = 0
        for row in rows {
          let above = row.before * from
          let below = row.after * from
          let g = row.weight
          for column in columns {
            let f = column.weight
            let a = (above + column.before) * channels
            let b = (above + column.after) * channels
            let c = (below + column.before) * channels
            let d = (below + column.after) * channels
            for channel in 0..<channels {
              let top = Int(pixels[a + channel]) * (one - f) + Int(pixels[b + channel]) * f
              let bottom = Int(pixels[c + channel]) * (one - f) + Int(pixels[d + channel]) * f
              let blended = top * (one - g) + bottom * g + half
              made[at] = UInt8(blended >> (2 * fractionBits))
              at += 1
            }
          }
        }
      }
    }
    return try Tensor(.uint8(made), shape: [height, width, channels])
  }

  /// For each position: the pixel before it, the one after, and the weight of the latter.
  private static func neighbours(
    _ size: Int, _ wanted: Int
  ) -> [(before: Int, after: Int, weight: Int)] {
    (0..<wanted).map { position in
      let over = (2 * position + 1) * size - wanted
      // Below zero the position is that of the first pixel.
      let p = over < 0 ? 0 : (over << fractionBits) / (2 * wanted)
      let before = p >> fractionBits
      return (before, min(before + 1, size - 1), p & (one - 1))
    }
  }

  /// To height x width pixels, each the nearest one.
  static func resizeNearest(_ image: Tensor, _ height: Int, _ width: Int) throws -> Tensor {
    let pixels = try pixels(image, "resize")
    let from = image.shape[1]
    let channels = image.shape[2]
    let columns = (0..<width).map { nearest($0, from, width) }
    var made: [UInt8] = []
    made.reserveCapacity(try Tensor.count([height, width, channels]))
    for y in 0..<height {
      let row = nearest(y, image.shape[0], height) * from
      for column in columns {
        let pixel = (row + column) * channels
        made.append(contentsOf: pixels[pixel..<pixel + channels])
      }
    }
    return try Tensor(.uint8(made), shape: [height, width, channels])
  }

  private static func nearest(_ position: Int, _ size: Int, _ wanted: Int) -> Int {
    min((2 * position + 1) * size / (2 * wanted), size - 1)
  }

  /// So that the shorter side has `size` pixels.
  static func resizeShortSideBilinear(_ image: Tensor, _ size: Int) throws -> Tensor {
    let (height, width) = try shortSide(image, size)
    return try resizeBilinear(image, height, width)
  }

  /// So that the shorter side has `size` pixels, each the nearest one.
  static func resizeShortSideNearest(_ image: Tensor, _ size: Int) throws -> Tensor {
    let (height, width) = try shortSide(image, size)
    return try resizeNearest(image, height, width)
  }

  private static func shortSide(_ image: Tensor, _ size: Int) throws -> (Int, Int) {
    _ = try pixels(image, "resize-short-side")
    let (height, width) = (image.shape[0], image.shape[1])
    let (short, long) = (min(height, width), max(height, width))
    let other = max(1, (2 * long * size + short) / (2 * short))
    return height <= width ? (size, other) : (other, size)
  }

  /// The middle height x width pixels.
  static func centerCrop(_ image: Tensor, _ height: Int, _ width: Int) throws -> Tensor {
    let pixels = try pixels(image, "center-crop")
    let from = image.shape[1]
    guard image.shape[0] >= height, from >= width else {
      throw ModelError("center-crop to \(height)x\(width): the image is smaller, \(image)")
    }
    let channels = image.shape[2]
    let top = (image.shape[0] - height) / 2
    let left = (from - width) / 2
    var made: [UInt8] = []
    made.reserveCapacity(height * width * channels)
    for y in 0..<height {
      let start = ((top + y) * from + left) * channels
      made.append(contentsOf: pixels[start..<start + width * channels])
    }
    return try Tensor(.uint8(made), shape: [height, width, channels])
  }

  /// RGB becomes BGR.
  static func bgr(_ image: Tensor) throws -> Tensor {
    let pixels = try colors(image)
    var made = pixels
    for at in stride(from: 0, to: pixels.count, by: 3) {
      made[at] = pixels[at + 2]
      made[at + 2] = pixels[at]
    }
    return try Tensor(.uint8(made), shape: image.shape)
  }

  /// One grey channel (ITU-R BT.601, in 16 bits).
  static func gray(_ image: Tensor) throws -> Tensor {
    let pixels = try colors(image)
    var made = [UInt8](repeating: 0, count: pixels.count / 3)
    for at in made.indices {
      let red = Int(pixels[3 * at])
      let green = Int(pixels[3 * at + 1])
      let blue = Int(pixels[3 * at + 2])
      let luma: Int = 19595 * red + 38470 * green + 7471 * blue
      made[at] = UInt8((luma + (1 << 15)) >> 16)
    }
    return try Tensor(.uint8(made), shape: [image.shape[0], image.shape[1], 1])
  }

  private static func colors(_ image: Tensor) throws -> [UInt8] {
    let pixels = try pixels(image, "color")
    guard image.shape[2] == 3 else {
      throw ModelError("color needs 3 channels, the image is \(image)")
    }
    return pixels
  }

  private static func pixels(_ image: Tensor, _ step: String) throws -> [UInt8] {
    guard image.shape.count == 3, !image.channelsFirst, image.count > 0,
      case .uint8(let pixels) = image.values
    else {
      throw ModelError("\(step) needs an image, uint8 height x width x channels, not \(image)")
    }
    return pixels
  }

  /// (x - mean) / std in float32; one value of each for all channels, or one a channel.
  static func normalize(_ values: Tensor, _ mean: [Float], _ std: [Float]) throws -> Tensor {
    try checkFinite(values, "normalize")
    let stated = max(mean.count, std.count)
    let rank = values.shape.count
    let axis = values.channelsFirst ? 0 : rank - 1
    let channels = rank == 0 ? 1 : values.shape[axis]
    guard stated == 1 || (rank > 0 && stated == channels) else {
      throw ModelError("normalize: \(stated) channels stated, the input is \(values)")
    }
    var made = try values.reals()
    let each = values.channelsFirst ? made.count / max(channels, 1) : 1
    for at in made.indices {
      let channel = stated == 1 ? 0 : (at / each) % channels
      let shift = mean[mean.count == 1 ? 0 : channel]
      let divisor = std[std.count == 1 ? 0 : channel]
      made[at] = (made[at] - shift) / divisor
    }
    return try Tensor(
      .float32(made), shape: values.shape, channelsFirst: values.channelsFirst)
  }

  /// Height x width x channels becomes channels x height x width.
  static func channelsFirst(_ values: Tensor) throws -> Tensor {
    guard values.shape.count == 3, !values.channelsFirst else {
      throw ModelError("layout needs height x width x channels, not \(values)")
    }
    try checkFinite(values, "layout")
    let channels = values.shape[2]
    let pixels = values.shape[0] * values.shape[1]
    func moved<T>(_ all: [T]) -> [T] {
      var made: [T] = []
      made.reserveCapacity(all.count)
      for channel in 0..<channels {
        for pixel in 0..<pixels { made.append(all[pixel * channels + channel]) }
      }
      return made
    }
    let made: Tensor.Values
    switch values.values {
    case .uint8(let all): made = .uint8(moved(all))
    case .int8(let all): made = .int8(moved(all))
    case .int16(let all): made = .int16(moved(all))
    case .int32(let all): made = .int32(moved(all))
    case .int64(let all): made = .int64(moved(all))
    case .float32(let all): made = .float32(moved(all))
    case .bool(let all): made = .bool(moved(all))
    }
    let shape = [channels, values.shape[0], values.shape[1]]
    return try Tensor(made, shape: shape, channelsFirst: true)
  }

  /// To float32; exact for the types of pictures.
  static func castToFloat32(_ values: Tensor) throws -> Tensor {
    try checkFinite(values, "cast")
    return try Tensor(
      .float32(try values.reals()), shape: values.shape, channelsFirst: values.channelsFirst)
  }

  /// To an integer type: half goes to even, what is outside of the type saturates.
  static func cast(_ values: Tensor, _ kind: Tensor.Kind) throws -> Tensor {
    try checkFinite(values, "cast")
    let wholes: [Int]
    if case .float32(let all) = values.values {
      // Bounded first: far outside of any type here, and Int would trap on what it cannot hold.
      wholes = all.map { Int(bounded(Double($0).rounded(.toNearestOrEven))) }
    } else {
      wholes = try values.wholes()
    }
    return try stored(wholes, kind, like: values)
  }

  /// round(x / scale) + zeroPoint, half to even, saturated.
  static func quantize(
    _ values: Tensor, _ scale: Float, _ zeroPoint: Int, _ kind: Tensor.Kind
  ) throws -> Tensor {
    try checkFinite(values, "quantize")
    let wholes = try values.reals().map { value -> Int in
      let quotient = value / scale
      return Int(bounded(Double(quotient).rounded(.toNearestOrEven))) + zeroPoint
    }
    return try stored(wholes, kind, like: values)
  }

  private static func bounded(_ value: Double) -> Double {
    max(-0x1p30, min(0x1p30, value))
  }

  private static func stored(
    _ wholes: [Int], _ kind: Tensor.Kind, like values: Tensor
  ) throws -> Tensor {
    let made: Tensor.Values
    switch kind {
    case .uint8: made = .uint8(wholes.map { UInt8(clamping: $0) })
    case .int8: made = .int8(wholes.map { Int8(clamping: $0) })
    case .int16: made = .int16(wholes.map { Int16(clamping: $0) })
    default: throw ModelError("nothing is quantized to \(kind.rawValue)")
    }
    return try Tensor(made, shape: values.shape, channelsFirst: values.channelsFirst)
  }

  private static func checkFinite(_ values: Tensor, _ step: String) throws {
    guard case .float32(let all) = values.values else { return }
    guard all.allSatisfy(\.isFinite) else {
      throw ModelError("\(step): a value is NaN or infinite")
    }
  }

  /// What the runtime takes for an input: the batch in front, quantized where it must be.
  static func toInput(_ spec: TensorSpec, _ given: Tensor) throws -> Tensor {
    let shape = [1] + given.shape
    guard spec.takes(shape) else {
      throw ModelError(
        "input '\(spec.name)': that makes \(Tensor.sizes(given.shape)), not \(spec.sizes) without"
          + " the batch of 1 in front")
    }
    var made = given
    if spec.isQuantized && made.kind != spec.kind {
      made = try quantize(made, spec.scale[0], spec.zeroPoint[0], spec.kind)
    }
    guard made.kind == spec.kind else {
      throw ModelError(
        "input '\(spec.name)': that makes \(made.kind.rawValue), not \(spec.kind.rawValue)")
    }
    return try made.shaped(shape)
  }
}
