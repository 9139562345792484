import Foundation

public final class CGColorSpace {
  public static let sRGB: NSString = "sRGB"
  public init?(name: NSString) {}
}

public enum CGImageAlphaInfo: UInt32 {
  case none = 0
  case noneSkipLast = 5
}

public enum CGInterpolationQuality: Int32 {
  case none = 1
}

public enum CGBlendMode: Int32 {
  case normal = 0
}

/// A picture of RGB.
public final class CGImage {
  public let width: Int
  public let height: Int
  let rgb: [UInt8]
  public init(rgb: [UInt8], width: Int, height: Int) {
    self.rgb = rgb
    self.width = width
    self.height = height
  }
}

public final class CGContext {
  public var interpolationQuality = CGInterpolationQuality.none
  private let data: UnsafeMutableRawPointer

  public init?(
    data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int,
    bytesPerRow: Int, space: CGColorSpace, bitmapInfo: UInt32
  ) {
    guard let data, bitmapInfo == 5, bytesPerRow == 4 * width else { return nil }
    self.data = data
  }

  public func setBlendMode(_ mode: CGBlendMode) {}

  public func draw(_ image: CGImage, in rect: CGRect) {
    for pixel in 0..<image.width * image.height {
      for channel in 0..<3 {
        data.storeBytes(
          of: image.rgb[3 * pixel + channel], toByteOffset: 4 * pixel + channel, as: UInt8.self)
      }
    }
  }
}
