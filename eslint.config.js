// Rules for the page's scripts, which run in browsers as they lie here, and for their tests.

import js from "@eslint/js";
import globals from "globals";

const CLIENT = "vit_explorer/page/client";

export default [
  { ignores: [".*/", "**/vendor/", "out/", "runs/", "site/", "build/", "dist/"] },
  js.configs.recommended,
  {
    files: [`${CLIENT}/**/*.js`],
    languageOptions: { globals: globals.browser },
  },
  {
    files: [`${CLIENT}/app/worker.js`],
    languageOptions: { globals: globals.serviceworker },
  },
  {
    files: ["tests/client/**/*.mjs", "eslint.config.js"],
    languageOptions: { globals: globals.node },
  },
  {
    rules: {
      "array-callback-return": "error",
      "consistent-return": "error",
      eqeqeq: "error",
      "max-lines": ["error", 400],
      "no-console": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-param-reassign": "error",
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) => ({
          property,
          message: "Text goes in as text nodes: use el() and setText() of base/dom.js.",
        })),
      ],
      "no-shadow": ["error", { hoist: "functions" }],
      "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
    },
  },
];
