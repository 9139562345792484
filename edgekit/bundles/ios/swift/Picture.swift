import Foundation

#if canImport(CoreGraphics)
  import CoreGraphics
#endif
#if canImport(CoreVideo)
  import CoreVideo
#endif

/// A picture as the model's preprocessing takes it: RGB, 8 bits a channel, rows from the top.
///
/// It is taken as it lies: turn it upright first if its orientation (EXIF) says so.
public struct Picture {
  public let width: Int
  public let height: Int
  private let rgb: [UInt8]

  /// Of bytes red, green, blue, red, and so on.
  public init(rgb: [UInt8], width: Int, height: Int) throws {
    guard width > 0, height > 0, rgb.count == 3 * width * height else {
      throw ModelError("\(rgb.count) bytes are not \(width) by \(height) pixels of RGB")
    }
    self.rgb = rgb
    self.width = width
    self.height = height
  }

  /// uint8, height x width x 3.
  func tensor() throws -> Tensor {
    try Tensor(.uint8(rgb), shape: [height, width, 3])
  }

  /// The three colours of pixels of four bytes in rows that may be padded.
  private init(
    fourBytes bytes: UnsafeRawPointer, rowBytes: Int, width: Int, height: Int,
    red: Int, green: Int, blue: Int
  ) throws {
    var rgb: [UInt8] = []
    rgb.reserveCapacity(3 * width * height)
    for y in 0..<height {
      let row = bytes.advanced(by: y * rowBytes).assumingMemoryBound(to: UInt8.self)
      for x in 0..<width {
        let pixel = row.advanced(by: 4 * x)
        rgb.append(pixel[red])
        rgb.append(pixel[green])
        rgb.append(pixel[blue])
      }
    }
    try self.init(rgb: rgb, width: width, height: height)
  }
}

#if canImport(CoreGraphics)
  extension Picture {
    /// The pixels in sRGB; nothing is scaled or turned. What is transparent lies over black.
    public init(_ image: CGImage) throws {
      let (width, height) = (image.width, image.height)
      var bytes = [UInt8](repeating: 0, count: 4 * width * height)
      let drawn = bytes.withUnsafeMutableBytes { buffer -> Bool in
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
          let context = CGContext(
            data: buffer.baseAddress, width: width, height: height, bitsPerComponent: 8,
            bytesPerRow: 4 * width, space: space,
            bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { return false }
        context.interpolationQuality = .none
        context.setBlendMode(.normal)
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        return true
      }
      guard drawn else {
        throw ModelError("Core Graphics has no bitmap of \(width) by \(height) pixels")
      }
      self = try bytes.withUnsafeBytes { buffer in
        guard let start = buffer.baseAddress else { throw ModelError("an empty picture") }
        return try Picture(
          fourBytes: start, rowBytes: 4 * width, width: width, height: height,
          red: 0, green: 1, blue: 2)
      }
    }
  }
#endif

#if canImport(CoreVideo)
  extension Picture {
    /// A frame of the camera in `kCVPixelFormatType_32BGRA`; other formats are refused.
    public init(_ frame: CVPixelBuffer) throws {
      guard CVPixelBufferGetPixelFormatType(frame) == kCVPixelFormatType_32BGRA else {
        throw ModelError("ask the camera for kCVPixelFormatType_32BGRA")
      }
      CVPixelBufferLockBaseAddress(frame, .readOnly)
      defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
      guard let start = CVPixelBufferGetBaseAddress(frame) else {
        throw ModelError("the frame has no pixels in memory")
      }
      try self.init(
        fourBytes: start, rowBytes: CVPixelBufferGetBytesPerRow(frame),
        width: CVPixelBufferGetWidth(frame), height: CVPixelBufferGetHeight(frame),
        red: 2, green: 1, blue: 0)
    }
  }
#endif
