// Keeps the shell: style sheets, scripts, signs, and a page that says that the server is away. Never
// a picture, an answer or an upload: whatever is not named here goes to the network as if this were
// not there.

const CACHE = "kidney-shell";
const BASE = new URL("./", self.location).pathname; // a proxy may put a prefix before it
const OFFLINE = `${BASE}static/offline.html`;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.add(OFFLINE)));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== self.location.origin) return;
  if (pathname.startsWith(`${BASE}static/`)) event.respondWith(networkFirst(request));
  else if (request.mode === "navigate") event.respondWith(fetch(request).catch(() => caches.match(OFFLINE)));
});

// The network first: a new version of the server never meets the scripts of the old one.
async function networkFirst(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request);
    if (kept) return kept;
    throw error;
  }
}
