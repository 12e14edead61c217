// The service worker: keeps the page's files, so that without its server the page still opens and says so.
// The server writes the name of the cache and the list of files into it.

const NAME = "{{name}}";
const FILES = ["{{files}}"];
const LOST = "explorer/static/app/offline_page.html";
// Files vary by Origin, which module scripts send and the keeping of the files does not.
const SAME = { ignoreVary: true };

const inScope = (path) => new URL(path, self.registration.scope).href;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  const keep = async () => {
    const cache = await caches.open(NAME);
    await cache.addAll(FILES.map(inScope));
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  const forget = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith("vit-explorer ") && name !== NAME);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(forget());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const ours = request.url.startsWith(inScope("explorer/static/"));
  if (request.mode === "navigate") {
    // Whatever the address, the page that says so stands for it until the server is back.
    event.respondWith(fetch(request).catch(() => caches.match(inScope(LOST), SAME)));
  } else if (request.method === "GET" && ours) {
    event.respondWith(
      fetch(request).catch(async () => (await caches.match(request, SAME)) ?? Response.error()),
    );
  }
});
