// Reads what a node publishes as a client in another language does: with JetStream
// consumers and NATS KV. Prints one JSON document a step, which the Go test judges.
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";

const nc = await connect({ servers: process.argv[2] });
const tell = (step, rest) => console.log(JSON.stringify({ step, ...rest }));

async function read(step, messages, n) {
  const subjects = [];
  for await (const m of messages) {
    subjects.push(m.subject);
    await m.ackAck();
    if (subjects.length === n) break;
  }
  tell(step, { subjects });
}

// A durable consumer: half of it fetched, the rest as it comes.
const jsm = await jetstreamManager(nc);
await jsm.consumers.add("DEMO_FEED", { durable_name: "npm", ack_policy: AckPolicy.Explicit });
const durable = await jetstream(nc).consumers.get("DEMO_FEED", "npm");
await read("fetch", await durable.fetch({ max_messages: 2 }), 2);
await read("consume", await durable.consume(), 2);

// An ordered one, from the beginning.
const ordered = await jetstream(nc).consumers.get("DEMO_FEED");
const subjects = [];
for await (const m of await ordered.consume()) {
  subjects.push(m.subject);
  if (subjects.length === 4) break;
}
tell("ordered", { subjects });

// A read model, as it is and as it changes: the Go test writes again when it is told to.
const view = await new Kvm(nc).open("demo_view_balances_1");
tell("get", { value: (await view.get("a-1")).string() });
let first = true;
for await (const e of await view.watch()) {
  tell(first ? "watch" : "change", { value: e.string() });
  if (!first) break;
  first = false;
}

// What it may not.
async function refused(step, what) {
  try {
    await what();
    tell(step, { error: "" });
  } catch (err) {
    tell(step, { error: `${err.message} ${err.cause?.message ?? ""}` });
  }
}
await refused("forge", () => jsm.consumers.add("DEMO_FEED", { durable_name: "forge", deliver_subject: "demo.evt.x" }));
await refused("purge", () => jsm.streams.purge("DEMO_FEED"));
await refused("delete", () => jsm.streams.delete("DEMO_FEED"));
await nc.drain();
