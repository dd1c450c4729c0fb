// A js-libp2p peer for bench_gossip.py: node gossip_peer.mjs HOME BRIEF [BOOTSTRAP ...], the words of gossip_peer.py.
//
// Messages of 2 KB, signed and deduplicated by GossipSub as js-libp2p does it by default; nothing is kept or checked
// beyond that, so it does less for each message than a node does. Copied to where js-libp2p is installed.

Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
const { createInterface } = await import('node:readline')
const { randomBytes } = await import('node:crypto')
const { createLibp2p } = await import('libp2p')
const { gossipsub } = await import('@libp2p/gossipsub')
const { identify } = await import('@libp2p/identify')
const { noise } = await import('@libp2p/noise')
const { tcp } = await import('@libp2p/tcp')
const { yamux } = await import('@libp2p/yamux')
const { multiaddr } = await import('@multiformats/multiaddr')

const TOPIC = '/bench/1'
const MESSAGE_BYTES = 2048
const say = (fields) => console.log(JSON.stringify(fields))
const now = () => Math.round((performance.timeOrigin + performance.now()) * 1e6)
const idOf = (data) => Buffer.from(data.subarray(0, 16)).toString('hex')

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub({ allowPublishToZeroTopicPeers: true }) }
})
const pubsub = node.services.pubsub
pubsub.addEventListener('message', ({ detail }) => say({ got: idOf(detail.data), at: now() }))
pubsub.addEventListener('subscription-change', () => say({ peers: pubsub.getSubscribers(TOPIC).length }))
pubsub.subscribe(TOPIC)
for (const address of process.argv.slice(4)) {
  for (let trial = 0; trial < 5; trial++) { // a busy peer may reset the first connection
    try {
      await node.dial(multiaddr(address))
      break
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  }
}
say({ address: node.getMultiaddrs()[0].toString() })
createInterface({ input: process.stdin }).on('line', async (line) => {
  if (line.trim() !== 'publish') return
  const data = randomBytes(MESSAGE_BYTES)
  say({ sent: idOf(data), at: now() })
  await pubsub.publish(TOPIC, data)
}).on('close', () => process.exit(0))
