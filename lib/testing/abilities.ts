/**
 * What a header may write behind `@cannot`.
 *
 * @module
 */

/**
 * What a header may say that its architecture cannot: each id is that of a check of the contract, of a fault, or of what is kept
 * behind one.
 */
export const ABILITIES = [
  "serve-others", // a client that sits idle or does not read holds up nobody
  "share-pipelines", // the requests that one client sends in a row delay others by no more than 200 ms
  "share-work", // other clients are served between the requests for work of one
  "recover-emfile", // survives that descriptors run out
  "wait-at-emfile", // clients that come when descriptors have run out are served later
  "serve-at-emfile", // serves clients that are there when descriptors have run out
  "rest-at-emfile", // does not spin while there are none
  "survive-resets",
  "recover-accept-errors", // accepts again after accept(2) has failed with the error of a connection
  "pass-accept-errors", // where it does, the other clients that wait are served all the same
  "half-close",
  "bound-memory", // lives within 128 MiB more, whatever clients send
  "survive-no-process", // survives that neither a process nor a thread can be made
  "outlive-worker", // goes on when one of its processes is killed
  "serve-on-full-disk",
  "serve-herd", // takes thousands of connections a second: some who come behind a herd are still served in time
  "return-memory", // gives back within seconds what clients that have gone had taken
  "return-descriptors", // closes within seconds all that its clients have made it open
  "return-threads", // ends the threads that it has made for a herd
  "late-reader", // no answer is cut, however late a client reads
  "head-deadline", // 408 for a head that is not complete after 10 s
  "keepalive", // idle peers are probed after 60 s
  "give-up", // ends a connection whose peer acknowledges nothing, or takes nothing, for 30 s
  "bad-length", // 400 for a Content-Length that is not digits
  "any-form", // absolute-form, a leading empty line, queries, HTTP/1.2
  "refuse-version", // 505 for HTTP/2.0
  "last-says-close", // the last answer of a connection carries Connection: close
  "exact-parser", // the same answers as the reference parser, whatever is sent
  "malformed-400",
  "bound-head", // 431 for a head over 8 KiB
  "linger", // the answer to what is refused survives what the client still sends
  "close-after-body",
  "exact-path", // does not take // for /
  "refuse-methods", // 405 for HEAD, POST, PUT and DELETE
  "any-method", // 405, not 400, for a method that no standard knows
  "drain", // a client that asks for much before it reads gets all its answers once it does
  "burn-cpu", // /work/N: CPU time, not time on the wall
  "see-port-in-use",
  "stop-in-flight", // answers on SIGTERM what is in flight
  "stop-backlog", // accepts on SIGTERM what has completed its handshake
  "hear-signals", // within 100 ms, whatever is asked
  "show-stats", // a line of counts on SIGUSR1
  "second-signal",
  "count-accepted", // the numbers of the stopped line; `served` is true for all
  "count-errors",
  // Of a server that pushes:
  "exact-handshake", // every malformed handshake is refused with the right status
  "exact-frames", // every violation of RFC 6455 is answered with the right code
  "exact-close", // a Close is echoed with its code, and an impossible code answered with 1002
  "any-frames", // the same answers as a second parser to any stream of frames
  "early-frames", // takes frames that a client sends before it has the answer to its handshake
  "handshake-deadline", // 408 for a handshake that is not complete after 10 s
  "message-deadline", // 1008 for a message that is not whole 10 s after its first byte
  "close-deadline", // closes within seconds where the peer has got its last frame, and does not close
  "bound-message", // 1009 for a message over 65 535 bytes
  "texts-only", // 1003 for a binary message
  "ping-in-message", // answers a ping between the fragments of a message at once
  "pings-before-close", // answers many pings that come at once, and the Close behind them
  "drop-non-reader", // a listener that does not read is dropped, and delays nobody
  "one-order", // all listeners get the messages of several clients in the same order
  "say-going-away", // 1001 on SIGTERM
  "count-delivered",
] as const;
/** One of {@linkcode ABILITIES}. */
export type Ability = typeof ABILITIES[number];
