// Builds the page into the Python package. The output is committed: users need no node, and CI compares.
import { build } from 'esbuild';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { dirname, join, relative, sep } from 'node:path';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, '..', 'geoseg', 'review', 'static');

const result = await build({
  entryPoints: { app: join(here, 'src', 'main.js') },
  outdir: out,
  bundle: true,
  minify: true,
  format: 'iife',
  target: ['chrome109', 'firefox115', 'safari16.4'],
  charset: 'utf8',
  legalComments: 'none',
  metafile: true,
  absWorkingDir: here,
  logLevel: 'info',
});

// The licenses of what is in the bundle go with it.
const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const match = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input.split(sep).join('/'));
  if (match) packages.add(match[1]);
}
const parts = ['The page of geoseg review contains:\n'];
for (const name of [...packages].sort()) {
  const folder = join(here, 'node_modules', name);
  const { version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  parts.push(`\n--- ${name} ${version} (${license}) ---\n`);
  for (const file of ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'license']) {
    try {
      parts.push((await readFile(join(folder, file), 'utf8')).trim() + '\n');
      break;
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
  }
}
await writeFile(join(out, 'THIRD_PARTY.txt'), parts.join(''));
console.log(`wrote ${relative(process.cwd(), out)}`);
