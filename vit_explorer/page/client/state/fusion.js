// How the heads of a layer become one map.

/**
 * How heads are fused: a rollout goes through all of them, so one head alone has none.
 * @param {State} state
 */
export function fusionOf({ rolled, head, result }) {
  if (!rolled) return head;
  return head === "max" && result.attention.whole ? "max" : "mean";
}
