// Takes a ticket to the server, which answers with a cookie, or has the cookie dropped; says so where the browser doesn't keep it.

const TRIES = 5;
const PAUSE = 1_000;

async function ask(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  return { status: response.status, answer: await response.json() };
}

async function run({ path, body }) {
  for (let n = 0; n < TRIES; n += 1) {
    try {
      const { status } = await ask(path, body);
      if (status < 500) break;
    } catch {
      // no connection: a ticket is good for a minute
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  try {
    return (await ask("/api/signed-in", {})).answer.kept;
  } catch {
    return false;
  }
}

const begun = (globalThis.curriculumErrands ??= new Set()); // every run of the page calls anew

export default ({ data, setTriggerValue }) => {
  if (begun.has(data.number)) return;
  begun.add(data.number);
  run(data).then((kept) => {
    if (!kept && data.path === "/api/sign-in") setTriggerValue("failed", data.number);
  });
};
