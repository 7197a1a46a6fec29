// Builds the pages into the Python package. The output is committed: users need no node, and CI compares.
import { build } from 'esbuild';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { dirname, join, relative, sep } from 'node:path';

const here = dirname(fileURLToPath(import.meta.url));
const root = process.argv[2] ?? join(here, '..', 'geoseg');
const pages = [
  { folder: 'review', entry: { app: 'main.js' }, what: 'The page of geoseg review' },
  { folder: 'report', entry: { viewer: 'report.js' }, what: 'The map of this report' },
];

for (const { folder, entry, what } of pages) {
  const out = join(root, folder, 'static');
  const [[name, source]] = Object.entries(entry);
  const result = await build({
    entryPoints: { [name]: join(here, 'src', source) },
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
  const parts = [`${what} contains:\n`];
  for (const name of [...packages].sort()) {
    const place = join(here, 'node_modules', name);
    const { version, license } = JSON.parse(await readFile(join(place, 'package.json'), 'utf8'));
    parts.push(`\n--- ${name} ${version} (${license}) ---\n`);
    for (const file of ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'license']) {
      try {
        parts.push((await readFile(join(place, file), 'utf8')).trim() + '\n');
        break;
      } catch (error) {
        if (error.code !== 'ENOENT') throw error;
      }
    }
  }
  await writeFile(join(out, 'THIRD_PARTY.txt'), parts.join(''));
  console.log(`wrote ${relative(process.cwd(), out)}`);
}
