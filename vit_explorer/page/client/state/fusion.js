// How the heads of a layer become one map, and which way it is read.

/**
 * How heads are fused: a rollout goes through all of them, so one head alone has none.
 * @param {State} state
 */
export function fusionOf({ rolled, head, result }) {
  if (!rolled) return head;
  return head === "max" && result.attention.whole ? "max" : "mean";
}

/**
 * Rollout of what is not here as whole layers comes from the server, of what a token is mixed of.
 * @param {State} state
 */
export const directionOf = ({ rolled, direction, result }) =>
  rolled && !result.attention.whole ? "from" : direction;
