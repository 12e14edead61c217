// Where the server's files and answers are: below the page, wherever that stands.

const ROOT = new URL("explorer/", document.baseURI);

export const address = (path) => new URL(path, ROOT).href;
