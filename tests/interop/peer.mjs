// A peer of a brief's topic that trains nothing: node peer.mjs TICKET. Says what happens as JSON lines on stdout.
//
// It fetches what it lacks, checks every record, makes two findings of its own once it has seen one to start from: the
// first is only given to who asks for it, the second is broadcast when the first was fetched. Ends with its stdin.

import './promise.mjs'
import { randomBytes } from 'node:crypto'
import { createLibp2p } from 'libp2p'
import { gossipsub, StrictSign, TopicValidatorResult } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import {
  decodePage, decodePayload, decodeRequest, decodeTicket, dictionaryOf, encodePage, encodeRequest, framed, keyFromSeed, keyOf,
  openFrame, pack, peerIdOf, Refused, seal, sha256, unpack
} from './wire.mjs'
import { encode, Float } from './msgpack.mjs'

const CATCHUP = '/swarm/catchup/1'
const BLOB = '/swarm/blob/1'
const CATCHUP_EVERY_MS = 2000
const DIAL_AGAIN_MS = 500 // a busy peer may reset the first connection

const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }))
const ticket = decodeTicket(process.argv[2])
const topic = `/swarm/1/${ticket.brief}`
const key = await keyFromSeed(randomBytes(32))
const me = peerIdOf(key)
const store = new Map() // author -> records 1, 2, 3 ... without a gap
const asked = [] // how far those who asked us had got in our own log
const waiting = new Map() // author -> seq -> record that came before the one it follows

// --- records ---

function keep(record, how) {
  const log = store.get(record.author) ?? store.set(record.author, []).get(record.author)
  const early = waiting.get(record.author) ?? waiting.set(record.author, new Map()).get(record.author)
  const held = log[record.seq - 1] ?? early.get(record.seq)
  if (held !== undefined) return false
  early.set(record.seq, record)
  for (let next; (next = early.get(log.length + 1)) !== undefined; early.delete(next.seq)) {
    if (next.prev !== (log.at(-1)?.id ?? '')) say('broken_log', { id: next.id })
    log.push(next)
  }
  say('record', { how, ...facts(record) })
  return true
}

function facts(record) {
  const { id, kind, author, seq } = record
  if (kind !== 'finding') return { id, kind, author, seq }
  const finding = decodePayload(record.payload)
  const proposal = finding.get('proposal')
  const source = proposal.get('source_sha256')
  const score = finding.get('trials')[0].get('val_bpb')
  return {
    id, kind, author, seq, number: finding.get('number'), title: proposal.get('title'),
    key: keyOf(proposal.get('config'), source), val_bpb: score instanceof Float ? score.value : score ?? null
  }
}

const heads = () => new Map([...store].filter(([, log]) => log.length > 0).map(([author, log]) => [author, log.length]))

async function open(frame) {
  const record = await openFrame(frame)
  if (record.brief !== ticket.brief) throw new Refused('wrong_brief', record.brief)
  return record
}

// --- catch-up ---

async function readMessage(stream) {
  let heard = Buffer.alloc(0)
  for await (const chunk of stream) {
    heard = Buffer.concat([heard, chunk.subarray()])
    if (heard.length >= 4 && heard.length >= 4 + heard.readUInt32BE(0)) return heard.subarray(4, 4 + heard.readUInt32BE(0))
  }
  throw new Error('the stream ended early')
}

async function answer(stream) {
  try {
    const request = decodeRequest(await readMessage(stream), store.keys())
    if (request.brief !== ticket.brief) throw new Refused('wrong_brief', request.brief)
    const page = encodePage(store, request)
    stream.send(framed(page.message))
    await stream.close()
    asked.push(request.heads.get(me) ?? 0)
    say('served', { records: page.records })
  } catch (error) {
    say('request_refused', { why: error.message })
    stream.abort(error)
  }
}

async function catchUp(peer) {
  for (let more = true; more;) {
    const before = JSON.stringify([...heads()])
    const stream = await node.dialProtocol(peer, CATCHUP)
    stream.send(framed(encodeRequest(ticket.brief, heads())))
    const page = decodePage(await readMessage(stream))
    await stream.close()
    for (const frame of page.records) keep(await open(frame), 'catchup')
    more = page.more && before !== JSON.stringify([...heads()])
  }
}

// --- broadcasts ---

let dictionary = null // until the brief is here, what is packed cannot be read; catch-up brings it all the same

async function fetchDictionary(peer) {
  const stream = await node.dialProtocol(peer, BLOB)
  stream.send(framed(encode({ v: 1, hash: Buffer.from(ticket.brief, 'hex'), offset: 0 })))
  let heard = Buffer.alloc(0)
  for await (const chunk of stream) heard = Buffer.concat([heard, chunk.subarray()])
  const brief = heard.subarray(9)
  if (heard[0] !== 0 || sha256(brief).toString('hex') !== ticket.brief) throw new Error('the peer has not the brief')
  dictionary = dictionaryOf(brief)
}

async function openBroadcast(data) {
  const packed = Buffer.from(data)
  const frame = dictionary === null ? packed : unpack(packed, dictionary)
  if (frame !== packed) unpacked += 1
  return open(frame)
}

let unpacked = 0

// --- findings of our own ---

function proposalFrom(record) {
  const theirs = decodePayload(record.payload)
  const proposal = theirs.get('proposal')
  return { config: proposal.get('config'), source_sha256: proposal.get('source_sha256'), track: theirs.get('trials')[0].get('track') }
}

function makeFinding(start, number, score) {
  const { config, source_sha256, track } = proposalFrom(start)
  return {
    kind: 'finding',
    number,
    node_name: 'another language',
    started_at: new Date().toISOString(),
    proposal: { operator: 'draft', proposer: 'js', config, source_sha256, title: `made in js, number ${number}` },
    trials: [{ outcome: 'measured', track, seed: number, seconds: new Float(1), val_bpb: new Float(score) }],
    verdict: { decision: 'keep', noise_sd: new Float(0.01) }
  }
}

async function writeOwn(number, score) {
  const log = store.get(me) ?? []
  const payload = encode(makeFinding(start, number, score))
  const record = await seal(key, 'finding', ticket.brief, log.length + 1, log.at(-1)?.id ?? '', Date.now(), payload)
  keep(record, 'own')
  return record
}

// --- the peer ---

const node = await createLibp2p({
  privateKey: key,
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub({ globalSignaturePolicy: StrictSign, doPX: false }) }
})
await node.handle(CATCHUP, answer)

node.services.pubsub.topicValidators.set(topic, async (_from, message) => {
  try {
    if (dictionary === null) return TopicValidatorResult.Ignore
    await openBroadcast(message.data)
    return TopicValidatorResult.Accept
  } catch (error) {
    say('refused', { reason: error.reason ?? error.message })
    return error.reason === 'unknown_version' ? TopicValidatorResult.Ignore : TopicValidatorResult.Reject
  }
})
node.services.pubsub.addEventListener('message', ({ detail }) => {
  if (detail.topic === topic) void openBroadcast(detail.data).then((record) => keep(record, 'broadcast'))
})
node.services.pubsub.subscribe(topic)
say('started', { peer: me, brief: ticket.brief, topic: ticket.topic })

process.stdin.resume()
process.stdin.on('end', () => void node.stop().then(() => process.exit(0)))

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
while (node.getPeers().length === 0) {
  for (const address of ticket.addresses) {
    await node.dial(multiaddr(address)).catch((error) => say('dial_failed', { why: error.message }))
  }
  if (node.getPeers().length === 0) await pause(DIAL_AGAIN_MS)
}
say('connected', { peers: node.getPeers().map(String) })

let start = null
let first = null
let second = null
while (true) {
  for (const peer of node.getPeers()) {
    if (dictionary === null) await fetchDictionary(peer).catch((error) => say('no_brief', { why: error.message }))
    await catchUp(peer).catch((error) => say('catchup_failed', { why: error.message }))
  }
  start ??= [...store.values()].flat().find((record) => record.kind === 'finding' && record.author !== me) ?? null
  if (start !== null && first === null) first = await writeOwn(1, 9.5)
  if (asked.some((seq) => seq >= 1) && second === null && node.services.pubsub.getSubscribers(topic).length > 0) {
    second = await writeOwn(2, 9.25)
    const { recipients } = await node.services.pubsub.publish(topic, pack(second.frame, dictionary))
    say('published', { id: second.id, recipients: recipients.map(String), unpacked })
  }
  await pause(CATCHUP_EVERY_MS)
}
