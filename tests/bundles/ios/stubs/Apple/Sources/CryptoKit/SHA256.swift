import Foundation

/// FIPS 180-4, for Linux, which has no CryptoKit.
public struct SHA256 {
  private static let primes: [Int] = {
    var found: [Int] = []
    var next = 2
    while found.count < 64 {
      if found.allSatisfy({ next % $0 != 0 }) { found.append(next) }
      next += 1
    }
    return found
  }()
  private static func bits(_ root: Double) -> UInt32 {
    UInt32((root - root.rounded(.down)) * 4_294_967_296)
  }
  private static let constants = primes.map { bits(cbrt(Double($0))) }

  private var state = primes.prefix(8).map { bits(Double($0).squareRoot()) }
  private var pending: [UInt8] = []
  private var length = 0

  public init() {}

  public mutating func update(data: Data) {
    pending += data
    length += data.count
    while pending.count >= 64 {
      block(Array(pending.prefix(64)))
      pending.removeFirst(64)
    }
  }

  public func finalize() -> [UInt8] {
    var last = self
    let bits = UInt64(8 * length)
    let zeros = (119 - length % 64) % 64
    last.update(data: Data([0x80] + [UInt8](repeating: 0, count: zeros)))
    last.update(data: Data((0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * $0)) }))
    return last.state.flatMap { word in
      (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) }
    }
  }

  private mutating func block(_ bytes: [UInt8]) {
    func turned(_ value: UInt32, _ by: UInt32) -> UInt32 { value >> by | value << (32 - by) }
    var w = (0..<16).map { at in (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(bytes[4 * at + $1]) } }
    for at in 16..<64 {
      let (a, b) = (w[at - 15], w[at - 2])
      let first = turned(a, 7) ^ turned(a, 18) ^ a >> 3
      let second = turned(b, 17) ^ turned(b, 19) ^ b >> 10
      w.append(w[at - 16] &+ first &+ w[at - 7] &+ second)
    }
    var s = state
    for at in 0..<64 {
      let up = turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)
      let choice = s[4] & s[5] ^ ~s[4] & s[6]
      let one = s[7] &+ up &+ choice &+ SHA256.constants[at] &+ w[at]
      let down = turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)
      let major = s[0] & s[1] ^ s[0] & s[2] ^ s[1] & s[2]
      s = [one &+ down &+ major, s[0], s[1], s[2], s[3] &+ one, s[4], s[5], s[6]]
    }
    state = zip(state, s).map { $0 &+ $1 }
  }
}
