// Drives a node as a client in another language does: plain NATS requests in JSON.
// Prints one JSON document a step, which the Go test judges.
import { connect, headers } from "@nats-io/transport-node";

const nc = await connect({ servers: process.argv[2] });

async function ask(step, subject, body, header = {}) {
  const h = headers();
  for (const [k, v] of Object.entries(header)) h.set(k, v);
  const m = await nc.request(subject, body === undefined ? "" : JSON.stringify(body), { headers: h, timeout: 10_000 });
  const reply = { step, body: m.json() };
  if (m.headers) {
    reply.status = m.headers.get("Nats-Service-Error-Code");
    reply.version = m.headers.get("Holdfast-Version");
    reply.position = m.headers.get("Holdfast-Position");
    reply.duplicate = m.headers.get("Holdfast-Duplicate");
  }
  console.log(JSON.stringify(reply));
  return reply;
}

const account = "account.npm-=C3=A9"; // the id npm-é
await ask("open", `demo.cmd.${account}.OpenAccount`, { owner: "Ada" }, { "Nats-Msg-Id": "npm-1", "Holdfast-User": "grace" });
await ask("deposit", `demo.cmd.${account}.Deposit`, { amount: 250 }, { "Nats-Msg-Id": "npm-2", "Holdfast-Expected-Version": "1" });
await ask("repeat", `demo.cmd.${account}.Deposit`, { amount: 250 }, { "Nats-Msg-Id": "npm-2", "Holdfast-Expected-Version": "1" });
await ask("reject", `demo.cmd.${account}.Withdraw`, { amount: 1000 });
await ask("malformed", `demo.cmd.${account}.Deposit`, { amount: "much" });
await ask("get", `demo.get.${account}`);
await ask("past", `demo.get.${account}`, undefined, { "Holdfast-As-Of-Version": "1" });
await ask("history", `demo.history.${account}`, { from: 2 });

// Many at the same time: all are answered, and add up.
await Promise.all(Array.from({ length: 200 }, (_, i) =>
  nc.request(`demo.cmd.${account}.Deposit`, JSON.stringify({ amount: 1 }), { timeout: 10_000 }).then((m) => {
    if (m.headers?.get("Nats-Service-Error-Code")) throw new Error(m.string());
  })));
await ask("after", `demo.get.${account}`);

// The service is found as the micro convention says.
const info = await nc.request("$SRV.PING.holdfast-demo", "", { timeout: 10_000 });
console.log(JSON.stringify({ step: "ping", body: { name: info.json().name } }));
await nc.drain();
