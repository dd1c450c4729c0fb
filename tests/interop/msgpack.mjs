// msgpack as docs/protocol.md wants it: ints and floats kept apart, no key twice where that is asked, nothing unbounded.

export class Float {
  constructor(value) {
    this.value = value
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function decode(bytes, { maxItems = 4096, maxMapItems = maxItems, maxDepth = 64, uniqueTop = false } = {}) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const take = (count) => {
    if (at + count > bytes.length) throw new Error('cut short')
    at += count
    return at - count
  }
  const uint = (size) => {
    const from = take(size)
    if (size === 8) return Number(view.getBigUint64(from))
    return size === 1 ? view.getUint8(from) : size === 2 ? view.getUint16(from) : view.getUint32(from)
  }
  const int = (size) => {
    const from = take(size)
    if (size === 8) return Number(view.getBigInt64(from))
    return size === 1 ? view.getInt8(from) : size === 2 ? view.getInt16(from) : view.getInt32(from)
  }
  const raw = (length) => {
    const from = take(length)
    return bytes.slice(from, from + length)
  }
  const text = (length) => utf8.decode(raw(length))
  const array = (length, depth) => {
    if (length > maxItems || depth >= maxDepth) throw new Error('array too large or too deep')
    return Array.from({ length }, () => value(depth + 1))
  }
  const map = (length, depth) => {
    if (length > maxMapItems || depth >= maxDepth) throw new Error('map too large or too deep')
    const made = new Map()
    for (let i = 0; i < length; i++) {
      const key = value(depth + 1)
      if (typeof key !== 'string') throw new Error('key is not text')
      if (uniqueTop && depth === 0 && made.has(key)) throw new Error('key twice')
      made.set(key, value(depth + 1))
    }
    return made
  }
  const value = (depth) => {
    const head = uint(1)
    if (head < 0x80) return head
    if (head < 0x90) return map(head & 15, depth)
    if (head < 0xa0) return array(head & 15, depth)
    if (head < 0xc0) return text(head & 31)
    if (head >= 0xe0) return head - 256
    switch (head) {
      case 0xc0: return null
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: case 0xc5: case 0xc6: return raw(uint(1 << (head - 0xc4)))
      case 0xca: return new Float(view.getFloat32(take(4)))
      case 0xcb: return new Float(view.getFloat64(take(8)))
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return uint(1 << (head - 0xcc))
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return int(1 << (head - 0xd0))
      case 0xd9: case 0xda: case 0xdb: return text(uint(1 << (head - 0xd9)))
      case 0xdc: case 0xdd: return array(uint(head === 0xdc ? 2 : 4), depth)
      case 0xde: case 0xdf: return map(uint(head === 0xde ? 2 : 4), depth)
      default: throw new Error('extension type or reserved byte')
    }
  }
  const whole = value(0)
  if (at !== bytes.length) throw new Error('bytes after the end')
  return whole
}

export function encode(value) {
  return Buffer.concat(pieces(value))
}

function head(length, codes, fix) {
  if (fix && length < fix[1]) return Buffer.from([fix[0] | length])
  const width = length < 256 && codes[0] ? 1 : length < 65536 ? 2 : 4
  const out = Buffer.alloc(1 + width)
  out[0] = codes[width === 4 ? 2 : width - 1]
  out.writeUIntBE(length, 1, width)
  return out
}

function pieces(value) {
  if (value === null || value === undefined) return [Buffer.from([0xc0])]
  if (typeof value === 'boolean') return [Buffer.from([value ? 0xc3 : 0xc2])]
  if (value instanceof Float) return [float(value.value)]
  if (typeof value === 'number') return [Number.isInteger(value) ? integer(value) : float(value)]
  if (typeof value === 'string') {
    const text = Buffer.from(value)
    return [head(text.length, [0xd9, 0xda, 0xdb], [0xa0, 32]), text]
  }
  if (value instanceof Uint8Array) return [head(value.length, [0xc4, 0xc5, 0xc6]), value]
  if (Array.isArray(value)) return [head(value.length, [0, 0xdc, 0xdd], [0x90, 16]), ...value.flatMap(pieces)]
  const entries = value instanceof Map ? [...value] : Object.entries(value)
  return [head(entries.length, [0, 0xde, 0xdf], [0x80, 16]), ...entries.flat().flatMap(pieces)]
}

function float(value) {
  const out = Buffer.from([0xcb, 0, 0, 0, 0, 0, 0, 0, 0])
  out.writeDoubleBE(value, 1)
  return out
}

function integer(value) {
  if (!Number.isSafeInteger(value)) throw new Error('an integer that not every language holds')
  if (value >= 0 && value < 128) return Buffer.from([value])
  if (value > 0 && value < 2 ** 32) return head(value, [0xcc, 0xcd, 0xce])
  if (value < 0 && value >= -32) return Buffer.from([value + 256])
  for (const [bytes, code] of [[1, 0xd0], [2, 0xd1], [4, 0xd2]]) {
    if (value >= 0 || value < -(2 ** (8 * bytes - 1))) continue
    const short = Buffer.alloc(1 + bytes, code)
    short.writeIntBE(value, 1, bytes)
    return short
  }
  const out = Buffer.alloc(9)
  out[0] = value < 0 ? 0xd3 : 0xcf
  out.writeBigInt64BE(BigInt(value), 1)
  return out
}
