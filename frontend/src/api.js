// Requests to the server. Nothing else is ever asked.

export class ApiError extends Error {
  constructor(status, document) {
    super(document.error ?? `the server answered ${status}`);
    this.status = status;
    this.revision = document.revision;
  }
}

async function answer(response) {
  const text = await response.text();
  let document;
  try {
    document = text ? JSON.parse(text) : {};
  } catch {
    document = { error: text };
  }
  if (!response.ok) throw new ApiError(response.status, document);
  return document;
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError(0, { error: 'the server does not answer. Start geoseg review again; nothing is lost.' });
  }
  return answer(response);
}

export function get(path, query = {}) {
  const text = new URLSearchParams(query).toString();
  return ask(text ? `${path}?${text}` : path);
}

export function post(path, document) {
  return ask(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(document),
  });
}
