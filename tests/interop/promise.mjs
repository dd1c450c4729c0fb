// js-libp2p asks for Node 22 because of this one function; with it Node 20 serves as well.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
