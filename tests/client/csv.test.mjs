// Tables that are saved as CSV.

import assert from "node:assert/strict";
import { test } from "node:test";

import { csv } from "../../vit_explorer/page/client/base/csv.js";

test("a cell is quoted by RFC 4180", () => {
  assert.equal(csv([["a,b", 'say "x"', 1.5, null]]), '"a,b","say ""x""",1.5,null\r\n');
});

test("no cell is a formula, and numbers stay numbers", () => {
  const given = ["=1+1", "+cmd", "-cmd", "@SUM(A1)", "\tx", "-1.5e-3", "+2", -1.5, "plain"];
  assert.equal(
    csv([given]),
    "'=1+1,'+cmd,'-cmd,'@SUM(A1),'\\x09x,-1.5e-3,+2,-1.5,plain\r\n",
  );
});

test("control characters are escaped", () => {
  assert.equal(csv([["a\x1b[31m\r\nb\u202e"]]), "a\\x1b[31m\\x0d\\x0ab\\u202e\r\n");
});
