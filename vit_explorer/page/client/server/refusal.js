// Why the server refused, in words.

import { t } from "../base/words.js";

/**
 * The server's own sentence, or ours where it has none.
 * @param {Response} response
 */
export async function refusal(response) {
  const { error, detail } = await response.json().catch(() => ({}));
  // FastAPI's own words, such as "Not Found", are no sentences.
  const told = String(detail).endsWith(".") ? detail : t("state.refused", { status: response.status });
  return new Error(error ?? told);
}
