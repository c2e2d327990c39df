// Run from the top of the repository (npm run lint does), because the browser tests live in spec/web.
import js from '@eslint/js';
import {dirname} from 'node:path';
import {fileURLToPath} from 'node:url';
import typescript from 'typescript-eslint';

const here = dirname(fileURLToPath(import.meta.url));
const names = (list) => Object.fromEntries(list.map((name) => [name, 'readonly']));
const nodeGlobals = names(['process', 'console', 'Buffer', 'URL', 'URLSearchParams', 'fetch', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance']);
const pageGlobals = names(['window', 'document', 'location', 'getComputedStyle']); // inside page.evaluate()

export default typescript.config(
  {ignores: ['**/dist/**', '**/node_modules/**']},
  js.configs.recommended,
  {
    files: ['**/src/**/*.ts', '**/src/**/*.tsx'],
    extends: [...typescript.configs.strictTypeChecked],
    languageOptions: {parserOptions: {project: './tsconfig.json', tsconfigRootDir: here}},
    rules: {
      'eqeqeq': 'error',
      'no-restricted-properties': ['error', {property: 'innerHTML', message: 'Names come from strangers: render text.'}],
      'no-restricted-syntax': ['error', {selector: 'JSXAttribute[name.name="dangerouslySetInnerHTML"]', message: 'Names come from strangers: render text.'}],
      '@typescript-eslint/restrict-template-expressions': ['error', {allowNumber: true, allowBoolean: true}],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off', // typed arrays and computed indexes under noUncheckedIndexedAccess
      '@typescript-eslint/no-unnecessary-condition': 'off', // answers of a server may lack what their type promises
      '@typescript-eslint/consistent-type-imports': 'error',
    },
  },
  {
    files: ['**/*.mjs'],
    languageOptions: {globals: {...nodeGlobals, ...pageGlobals}},
  },
);
