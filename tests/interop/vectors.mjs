// Reads the golden vectors: node vectors.mjs FOLDER. Prints how many of each file were read as they say; throws otherwise.

import './promise.mjs'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode, Float } from './msgpack.mjs'
import {
  decodePage, decodePayload, decodeRequest, decodeTicket, dictionaryOf, keyFromSeed, keyOf, openFrame, pack, peerIdOf, seal,
  unpack
} from './wire.mjs'

const read = (name) => JSON.parse(readFileSync(join(process.argv[2], name)))
const bytes = (hex) => Buffer.from(hex, 'hex')

async function reasonOf(vector) {
  const frame = vector.fill === undefined ? bytes(vector.frame) : Buffer.alloc(vector.length, vector.fill, 'hex')
  try {
    await openFrame(frame)
    return null
  } catch (error) {
    return error.reason ?? error.stack
  }
}

const checks = {
  'identity.json': async (vector) => {
    const key = await keyFromSeed(bytes(vector.seed))
    assert.equal(peerIdOf(key), vector.peer_id)
    assert.equal(Buffer.from(await key.sign(bytes(vector.message))).toString('hex'), vector.signature)
  },
  'records.json': async (vector) => {
    const record = await openFrame(bytes(vector.frame))
    for (const name of ['id', 'kind', 'brief', 'author', 'seq', 'prev', 'at']) assert.equal(record[name], vector[name])
    assert.equal(Buffer.from(record.payload).toString('hex'), vector.payload)
    const key = await keyFromSeed(bytes(vector.seed))
    const { kind, brief, seq, prev, at } = vector
    await seal(key, kind, brief, seq, prev, at, bytes(vector.payload))
  },
  'refused.json': async (vector) => assert.equal(await reasonOf(vector), vector.reason, vector.what),
  'limits.json': async (vector) => assert.equal(await reasonOf(vector), vector.reason, vector.what),
  'unknown_fields.json': async (vector) => assert.equal(await reasonOf(vector), null, vector.what),
  'findings.json': async (vector) => same(decodePayload(bytes(vector.payload)), vector.fields),
  'replays.json': async (vector) => same(decodePayload(bytes(vector.payload)), vector.fields),
  'censored.json': async (vector) => vector.reason === null && same(decodePayload(bytes(vector.payload)), vector.fields),
  'keys.json': async (vector) => assert.equal(keyOf(decode(bytes(vector.config)), vector.source_sha256), vector.key),
  'tickets.json': async (vector) => {
    const ticket = decodeTicket(vector.ticket.toUpperCase())
    assert.deepEqual([ticket.topic, ticket.brief, ticket.addresses], [vector.topic, vector.brief, vector.addresses])
  },
  'refused_tickets.json': async (vector) => {
    if (vector.reason !== 'malformed') assert.throws(() => decodeTicket(vector.ticket), vector.what)
  }
}

function same(value, said) {
  if (value instanceof Float) return assert.equal(value.value, said)
  if (value instanceof Map) return [...value].forEach(([key, inside]) => same(inside, said[key]))
  if (Array.isArray(value)) return value.forEach((inside, i) => same(inside, said[i]))
  assert.equal(value, said)
}

const counts = {}
for (const [name, check] of Object.entries(checks)) {
  const vectors = read(name)
  for (const vector of vectors) await check(vector)
  counts[name] = vectors.length
}
for (const { request, answer, records, heads_after: heads } of read('exchange.json').streams) {
  assert.equal(decodeRequest(bytes(request).subarray(4)).v, 1)
  const page = decodePage(bytes(answer).subarray(4))
  const opened = await Promise.all(page.records.map((frame) => openFrame(Buffer.from(frame))))
  assert.deepEqual(opened.map((record) => record.id), records)
  for (const record of opened) assert.ok(heads[record.author] >= record.seq)
  counts['exchange.json'] = (counts['exchange.json'] ?? 0) + 1
}
for (const vector of read('marks.json')) {
  let reason = null
  let heads = new Map()
  try {
    heads = decodeRequest(bytes(vector.message), vector.known).heads
  } catch (error) {
    reason = error.reason ?? error.stack
  }
  assert.equal(reason, vector.reason, vector.what)
  if (reason === null) assert.deepEqual(Object.fromEntries(heads), vector.heads, vector.what)
  counts['marks.json'] = (counts['marks.json'] ?? 0) + 1
}
const packed = read('packed.json')
const dictionary = dictionaryOf(bytes(packed.brief))
assert.equal(dictionary.toString('hex'), packed.dictionary)
for (const vector of packed.data) {
  let frame = null
  try {
    frame = unpack(bytes(vector.data), dictionary).toString('hex')
    assert.equal(unpack(pack(bytes(vector.frame), dictionary), dictionary).toString('hex'), vector.frame)
  } catch (error) {
    assert.equal(error.reason, vector.reason, vector.what)
  }
  if (vector.reason === null) assert.equal(frame, vector.frame, vector.what)
  counts['packed.json'] = (counts['packed.json'] ?? 0) + 1
}
console.log(JSON.stringify(counts))
