// What docs/protocol.md says about bytes: records, tickets, catch-up messages, and the key of what a finding runs.

import { createHash } from 'node:crypto'
import { deflateSync, inflateSync } from 'node:zlib'
import { generateKeyPairFromSeed, publicKeyFromRaw } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey, peerIdFromPublicKey, peerIdFromString } from '@libp2p/peer-id'
import { decode, encode, Float } from './msgpack.mjs'

const RECORD_PREFIX = Buffer.from('research-swarm/record/1\0')
const TICKET_PREFIX = Buffer.from('research-swarm/ticket/1\0')
const MAX_FRAME_BYTES = 98304
const MAX_REQUEST_BYTES = 524288
const MAX_ANSWER_BYTES = 753664
const PAGE_BYTES = 524288
const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/
const HEX_ID = /^[0-9a-f]{64}$/
const KIND = /^[a-z][a-z0-9_-]{0,31}$/

export const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts.map((p) => Buffer.from(p)))).digest()
const isInt = (value) => Number.isSafeInteger(value)

export class Refused extends Error {
  constructor(reason, what) {
    super(`${reason}: ${what}`)
    this.reason = reason
  }
}

// --- section 1 ---

export const keyFromSeed = (seed) => generateKeyPairFromSeed('Ed25519', seed)
export const peerIdOf = (privateKey) => peerIdFromPrivateKey(privateKey).toString()

function publicKeyOf(author) {
  if (!PEER_ID.test(author)) return null
  try {
    const id = peerIdFromString(author)
    return id.type === 'Ed25519' && id.toString() === author ? id.publicKey : null
  } catch {
    return null
  }
}

// --- section 2 ---

export async function openFrame(frame) {
  if (frame.length > MAX_FRAME_BYTES) throw new Refused('oversize', `${frame.length} bytes`)
  const signature = frame.subarray(0, 64)
  const body = frame.subarray(64)
  let fields
  try {
    fields = decode(body, { maxDepth: 16, uniqueTop: true })
  } catch (error) {
    throw new Refused('malformed', error.message)
  }
  if (!(fields instanceof Map)) throw new Refused('malformed', 'body is not a map')
  const record = Object.fromEntries(fields)
  if (isInt(record.v) && record.v > 1) throw new Refused('unknown_version', `version ${record.v}`)
  const wrong = {
    v: record.v !== 1,
    kind: typeof record.kind !== 'string' || !KIND.test(record.kind),
    brief: typeof record.brief !== 'string' || !HEX_ID.test(record.brief),
    author: typeof record.author !== 'string' || publicKeyOf(record.author) === null,
    seq: !isInt(record.seq) || record.seq < 1,
    prev: typeof record.prev !== 'string' || (record.seq === 1 ? record.prev !== '' : !HEX_ID.test(record.prev)),
    at: !isInt(record.at) || record.at < 0,
    payload: !(record.payload instanceof Uint8Array)
  }
  const broken = Object.keys(wrong).filter((name) => wrong[name])
  if (broken.length > 0) throw new Refused('malformed', broken.join(', '))
  const fits = signature.length === 64 &&
    (await publicKeyOf(record.author).verify(Buffer.concat([RECORD_PREFIX, body]), signature))
  if (!fits) throw new Refused('bad_signature', record.author)
  const { kind, brief, author, seq, prev, at, payload } = record
  return { id: sha256(body).toString('hex'), kind, brief, author, seq, prev, at, payload, frame }
}

export async function seal(privateKey, kind, brief, seq, prev, at, payload) {
  const body = encode({ v: 1, kind, brief, author: peerIdOf(privateKey), seq, prev, at, payload })
  const signature = await privateKey.sign(Buffer.concat([RECORD_PREFIX, body]))
  return openFrame(Buffer.concat([signature, body]))
}

// --- section 3 ---

export const decodePayload = (payload) => decode(payload, { maxMapItems: 256 })

export function keyOf(config, sourceSha256) {
  const byCodePoint = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) // UTF-8 sorts as code points do
  const settings = [...config.keys()].sort(byCodePoint).map((name) => `${ascii(name)}:${canonical(config.get(name))}`)
  return sha256(`{"config":{${settings.join(',')}},"source":${ascii(sourceSha256)}}`).toString('hex')
}

function canonical(value) {
  if (value instanceof Float) return decimal(value.value)
  return typeof value === 'string' ? ascii(value) : String(value)
}

function ascii(text) {
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, escaped)
}

function decimal(value) {
  const [mantissa, power] = value.toExponential().split('e') // the shortest digits that read back as the same number
  const exponent = Number(power)
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`
  }
  if (Object.is(value, -0)) return '-0.0'
  const digits = mantissa.replace(/[-.]/g, '')
  const sign = value < 0 ? '-' : ''
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0')
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`
}

// --- section 4 ---

export function dictionaryOf(briefBytes) {
  const brief = JSON.parse(Buffer.from(briefBytes).toString())
  const zeros = '0'.repeat(64)
  const zero = new Float(0)
  const byCodePoint = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))
  const number = (value, kind) => {
    if (kind === 'float') return new Float(value)
    return kind === 'int' && Number.isSafeInteger(value) ? value : 0
  }
  const config = new Map(Object.keys(brief.base_config).sort(byCodePoint).map((name) => {
    const value = brief.base_config[name]
    return [name, typeof value === 'number' ? number(value, brief.space.parameters[name].kind) : value]
  }))
  const trial = {
    outcome: 'measured', track: { hardware_class: 'cpu-x86_64-', budget_seconds: new Float(120) }, seed: 0, seconds: zero,
    val_bpb: zero, steps: 0, tokens: 0, parameters: 0, peak_memory_bytes: 0,
    curve: [{ step: 0, seconds: zero, train_loss: zero, progress: zero }], reason: '', condition: 'steady',
    foreign_cores: null
  }
  const proposal = {
    operator: 'improve', proposer: 'classic/local', config, source_sha256: sha256(brief.editable['train.py']).toString('hex'),
    source: null, parent: zeros, inspirations: [], title: '', rationale: ''
  }
  const verdict = {
    decision: 'keep', effect: zero, interval: zero, p_better: zero, noise_sd: zero, noise_dof: zero, parent_scores: [],
    simpler: false
  }
  const payload = {
    kind: 'finding', number: 1, node_name: '', started_at: '2026-01-01T00:00:00Z', proposal, trials: [trial],
    parent_trials: [], verdict
  }
  const id = sha256(briefBytes).toString('hex')
  return encode({ v: 1, kind: 'finding', brief: id, author: '12D3KooW', seq: 1, prev: zeros, at: 1790000000000, payload })
}

export function pack(frame, dictionary) {
  const packed = deflateSync(frame, { dictionary })
  return packed.length < frame.length ? packed : frame
}

export function unpack(data, dictionary) {
  const name = deflateSync(Buffer.alloc(0), { dictionary }).subarray(2, 6) // Adler-32
  const isPacked = data.length >= 6 && data[0] === 0x78 && (data[1] & 0x20) !== 0 && (0x7800 + data[1]) % 31 === 0 &&
    name.equals(data.subarray(2, 6))
  if (!isPacked) return data
  try {
    const { buffer, engine } = inflateSync(data, { dictionary, maxOutputLength: MAX_FRAME_BYTES, info: true })
    if (engine.bytesWritten === data.length) return buffer
  } catch (error) {
    throw new Refused('malformed', error.message)
  }
  throw new Refused('malformed', 'bytes after the stream')
}

// --- section 5 ---

export function framed(message) {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(message.length)
  return Buffer.concat([length, message])
}

export const encodeRequest = (brief, heads) => encode({ v: 1, brief, heads, first: '', end: '' })

export function markOf(author, offset) {
  return sha256(author).subarray(offset, offset + 6)
}

function headsByMarks({ offset, marks, seqs }, known) {
  const fits = isInt(offset) && offset >= 0 && offset < 27 && marks instanceof Uint8Array && Array.isArray(seqs) &&
    marks.length === 6 * seqs.length && seqs.length <= 4096 && seqs.every((seq) => isInt(seq) && seq >= 1)
  if (!fits) throw new Refused('malformed', 'marks without their heads')
  const at = new Map(seqs.map((seq, i) => [Buffer.from(marks.subarray(6 * i, 6 * i + 6)).toString('hex'), seq]))
  return new Map([...known].flatMap((author) => {
    const seq = at.get(markOf(author, offset).toString('hex'))
    return seq === undefined ? [] : [[author, seq]]
  }))
}

export function decodeRequest(message, known = []) {
  if (message.length > MAX_REQUEST_BYTES) throw new Refused('page_malformed', 'request too long')
  const request = Object.fromEntries(decode(message, { maxItems: 8192 }))
  const texts = [request.brief, request.first, request.end]
  if (request.marks !== undefined) request.heads = headsByMarks(request, known)
  if (request.v !== 1 || !texts.every((text) => typeof text === 'string') || !(request.heads instanceof Map)) {
    throw new Refused('malformed', 'request lacks a field')
  }
  for (const [author, seq] of request.heads) {
    if (publicKeyOf(author) === null || !isInt(seq) || seq < 1) throw new Refused('malformed', 'no head')
  }
  return request
}

export function encodePage(store, request) {
  const asks = (author) => author >= request.first && (request.end === '' || author < request.end)
  const missing = [...store.keys()].filter(asks).sort().flatMap((author) =>
    store.get(author).filter((record) => record.seq > (request.heads.get(author) ?? 0)))
  const records = []
  let bytes = 0
  for (const { frame } of missing) {
    if (records.length > 0 && bytes + frame.length > PAGE_BYTES) break
    records.push(frame)
    bytes += frame.length
  }
  return { records: records.length, message: encode({ v: 1, records, more: records.length < missing.length, peers: [] }) }
}

export function decodePage(message) {
  if (message.length > MAX_ANSWER_BYTES) throw new Refused('page_malformed', 'answer too long')
  const page = Object.fromEntries(decode(message, { maxItems: 8192, maxMapItems: 4096 }))
  const fits = page.v === 1 && Array.isArray(page.records) && typeof page.more === 'boolean' &&
    page.records.every((frame) => frame instanceof Uint8Array)
  if (!fits) throw new Refused('page_malformed', 'answer lacks a field')
  return page
}

// --- section 6 ---

export function decodeTicket(word) {
  const text = word.trim().replace(/^["'`<>]+|["'`<>]+$/g, '').trim().toLowerCase()
  if (!text.startsWith('swarm1')) throw new Error('not a ticket of version 1')
  const whole = base32(text.slice(6))
  const length = whole.readUInt16BE(0)
  const payload = whole.subarray(2, 2 + length)
  if (whole.length !== length + 6 || !sha256(TICKET_PREFIX, whole.subarray(0, -4)).subarray(0, 4).equals(whole.subarray(-4))) {
    throw new Error('ticket is mistyped')
  }
  const fields = Object.fromEntries(decode(payload))
  const addresses = fields.a.flatMap(([publicKey, transports]) => {
    const peer = peerIdFromPublicKey(publicKeyFromRaw(publicKey)).toString()
    return transports.map((transport) => `${transport}/p2p/${peer}`)
  })
  return { topic: fields.t, brief: Buffer.from(fields.b).toString('hex'), addresses }
}

function base32(letters) {
  const bytes = []
  let bits = 0
  let held = 0
  for (const letter of letters) {
    const five = 'abcdefghijklmnopqrstuvwxyz234567'.indexOf(letter)
    if (five < 0) throw new Error('a character that tickets never have')
    held = ((held << 5) | five) & 0xfff
    bits += 5
    if (bits >= 8) {
      bits -= 8
      bytes.push((held >> bits) & 0xff)
    }
  }
  return Buffer.from(bytes)
}
