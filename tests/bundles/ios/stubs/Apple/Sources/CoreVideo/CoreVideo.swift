import Foundation

public let kCVPixelFormatType_32BGRA: UInt32 = 0x4247_5241
public struct CVPixelBufferLockFlags {
  public static let readOnly = CVPixelBufferLockFlags()
}

/// A frame whose rows are padded.
public final class CVPixelBuffer {
  let format: UInt32
  let width: Int
  let height: Int
  let rowBytes: Int
  let data: UnsafeMutableRawPointer

  public init(rgb: [UInt8], width: Int, height: Int, format: UInt32 = kCVPixelFormatType_32BGRA) {
    (self.format, self.width, self.height) = (format, width, height)
    rowBytes = 4 * width + 12
    data = .allocate(byteCount: rowBytes * height, alignment: 16)
    for pixel in 0..<width * height {
      for channel in 0..<3 {
        data.storeBytes(
          of: rgb[3 * pixel + 2 - channel],
          toByteOffset: pixel / width * rowBytes + 4 * (pixel % width) + channel, as: UInt8.self)
      }
    }
  }
  deinit { data.deallocate() }
}

public func CVPixelBufferGetPixelFormatType(_ buffer: CVPixelBuffer) -> UInt32 { buffer.format }
@discardableResult
public func CVPixelBufferLockBaseAddress(
  _ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags
) -> Int32 { 0 }
@discardableResult
public func CVPixelBufferUnlockBaseAddress(
  _ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags
) -> Int32 { 0 }
public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? {
  buffer.data
}
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { buffer.rowBytes }
public func CVPixelBufferGetWidth(_ buffer: CVPixelBuffer) -> Int { buffer.width }
public func CVPixelBufferGetHeight(_ buffer: CVPixelBuffer) -> Int { buffer.height }
