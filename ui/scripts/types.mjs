// Writes src/lib/api.gen.ts, the TypeScript types of docs/openapi-local.yaml; with
// --check it only compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { parse } from 'yaml';

const source = new URL('../../docs/openapi-local.yaml', import.meta.url);
const target = new URL('../src/lib/api.gen.ts', import.meta.url);

function typeOf(s) {
  if (s.$ref) return s.$ref.slice(s.$ref.lastIndexOf('/') + 1);
  if (s.anyOf) return s.anyOf.map(typeOf).join(' | ');
  if (s.enum) return s.enum.map((value) => `'${value}'`).join(' | ');
  const types = Array.isArray(s.type) ? s.type : [s.type ?? ''];
  return types
    .map((type) => {
      switch (type) {
        case 'integer':
          return 'number';
        case 'array':
          return `${s.items ? typeOf(s.items) : 'unknown'}[]`;
        case 'object':
          return s.additionalProperties ? `Record<string, ${typeOf(s.additionalProperties)}>` : 'object';
        default:
          return type;
      }
    })
    .join(' | ');
}

const document = parse(readFileSync(source, 'utf8'));
let text = '// Made from docs/openapi-local.yaml by: npm run types\n';
for (const [name, schema] of Object.entries(document.components.schemas)) {
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length === 0) {
    text += `\nexport type ${name} = Record<string, never>;\n`;
    continue;
  }
  text += `\nexport interface ${name} {\n`;
  for (const [field, value] of fields) {
    text += `  ${field}${schema.required?.includes(field) ? '' : '?'}: ${typeOf(value)};\n`;
  }
  text += '}\n';
}

if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error('src/lib/api.gen.ts is not what docs/openapi-local.yaml says; run: npm run types');
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
