// Where the server's files and answers are: below the page, wherever that stands.

/** @param {string} path */
export const address = (path) => new URL(`explorer/${path}`, document.baseURI).href;
