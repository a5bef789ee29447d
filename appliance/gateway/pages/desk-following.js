// How an authentication goes on: told by the appliance as long as that works, else asked for again and again.

import { Unreachable, ask, insist, isSpent, pause } from "./asking.js";

const LOOK_SECONDS = 4;

// Returns how the authentication at *path* ended; *stage* and *lost* are told of what comes before.
export async function follow(path, job, { stage, lost }) {
  let known = null;
  const changed = (now) => {
    if (now !== known) {
      known = now;
      stage(now);
    }
  };
  if (job.state !== "running") {
    return job;
  }
  changed(job.stage);
  return (await told(path, changed, lost)) ?? asked(path, changed, lost);
}

// By server-sent events. Returns null where they end too early. That a line is cut shows only to whoever asks on it.
async function told(path, changed, lost) {
  const source = new EventSource(`${path}/events`);
  const streamed = new Promise((end) => {
    source.addEventListener("stage", (event) => changed(JSON.parse(event.data).stage));
    source.addEventListener("done", (event) => end(JSON.parse(event.data)));
    source.addEventListener("error", () => end(null));
  });
  try {
    return await Promise.race([streamed, cut(path, lost, () => source.readyState !== EventSource.CLOSED)]);
  } finally {
    source.close();
  }
}

// Returns null once the appliance is not reached, and never anything else but what has ended.
async function cut(path, lost, isOpen) {
  while (isOpen()) {
    await pause(LOOK_SECONDS);
    try {
      const job = isOpen() ? await ask("GET", path) : null;
      if (job !== null && job.state !== "running") {
        return job;
      }
    } catch (error) {
      // Where too much was asked before, what is told goes on, and asking more often would not help.
      if (!isSpent(error)) {
        lost(error instanceof Unreachable);
        return null;
      }
    }
  }
  return null;
}

// By asking. It is answered at the end, or after a second.
async function asked(path, changed, lost) {
  for (;;) {
    const job = await insist(() => ask("GET", `${path}?wait=1`), lost);
    if (job.state !== "running") {
      return job;
    }
    changed(job.stage);
  }
}
