// Reads the feed as a client in another language does: subscribed, and as a durable consumer.
// Prints one JSON document an event, which the Go test judges.
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";

const [, , url, count] = process.argv;
const nc = await connect({ servers: url });

function show(via, m) {
  const header = {};
  for (const name of m.headers.keys()) header[name] = m.headers.get(name);
  console.log(JSON.stringify({ via, subject: m.subject, header, data: m.json() }));
}

const sub = nc.subscribe("demo.evt.>", { max: Number(count) });
await nc.request("demo.cmd.account.npm-=C3=A9.OpenAccount", JSON.stringify({ owner: "Ada" }), { timeout: 10_000 });
for (let i = 1; i < Number(count); i++) {
  await nc.request("demo.cmd.account.npm-=C3=A9.Deposit", JSON.stringify({ amount: i }), { timeout: 10_000 });
}
for await (const m of sub) show("subscription", m);

const manager = await jetstreamManager(nc);
await manager.consumers.add("DEMO_FEED", { durable_name: "npm", filter_subject: "demo.evt.account.>", ack_policy: AckPolicy.Explicit });
const consumer = await jetstream(nc).consumers.get("DEMO_FEED", "npm");
const messages = await consumer.fetch({ max_messages: Number(count), expires: 10_000 });
for await (const m of messages) {
  show("consumer", m);
  m.ack();
}
await nc.drain();
