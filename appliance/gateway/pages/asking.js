// Asking the appliance: strict, bounded in time, and never answered from a cache.

const SECONDS = 15;
const TOO_MUCH_ASKED = 429;

// The appliance has answered with a problem.
export class Refused extends Error {
  constructor(problem, status) {
    super(problem.code);
    this.problem = problem;
    this.status = status;
  }
}

// There was no answer, or none that can be read.
export class Unreachable extends Error {}

async function answered(response) {
  if (response.status === 204) {
    return null;
  }
  let content;
  try {
    content = await response.json();
  } catch {
    throw new Unreachable(String(response.status));
  }
  if (!response.ok) {
    throw typeof content?.code === "string" ? new Refused(content, response.status) : new Unreachable();
  }
  return content;
}

// Whether *error* says that too much was asked before, so that the same has to wait.
export function isSpent(error) {
  return error instanceof Refused && error.status === TOO_MUCH_ASKED;
}

// Returns what the appliance answers, as a value. *seconds* is how long that may take; a *signal* ends it before.
export async function ask(method, path, options = {}) {
  const { body, key, requestId, language, seconds = SECONDS, keepalive = false, signal } = options;
  const ending = new AbortController();
  const end = () => ending.abort();
  const timer = setTimeout(end, seconds * 1000);
  signal?.addEventListener("abort", end);
  const headers = { Accept: "application/json", "Accept-Language": language ?? document.documentElement.lang };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  if (key !== undefined) {
    headers["Idempotency-Key"] = key;
  }
  if (requestId !== undefined) {
    headers["X-Request-Id"] = requestId;
  }
  try {
    const response = await fetch(path, {
      method,
      headers,
      keepalive,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "same-origin",
      mode: "same-origin",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: ending.signal,
    });
    return await answered(response);
  } catch (error) {
    throw error instanceof Refused ? error : new Unreachable();
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  }
}

export function pause(seconds) {
  return new Promise((go) => setTimeout(go, seconds * 1000));
}

// Asks again and again as long as nothing is reached, and tells *lost* whether that is so. Returns null where the
// answer is not wanted any more.
export async function persist(attempt, lost, isWanted = () => true) {
  for (let wait = 0.5; isWanted(); wait = Math.min(wait * 2, 5)) {
    try {
      const answer = await attempt();
      lost(false);
      return answer;
    } catch (error) {
      if (!(error instanceof Unreachable)) {
        lost(false);
        throw error;
      }
      if (isWanted()) {
        lost(true);
        await pause(wait);
      }
    }
  }
  return null;
}

// Persists also where too much was asked before: what the step needs is asked for until there is room again.
export async function insist(attempt, lost, isWanted = () => true) {
  for (;;) {
    try {
      return await persist(attempt, lost, isWanted);
    } catch (error) {
      if (!isSpent(error)) {
        throw error;
      }
      if (!isWanted()) {
        return null;
      }
      await pause(1);
    }
  }
}
