// Print as a JSON list what `prisma migrate diff` finds between a database and a schema.
// node drift.mjs DATABASE_URL SCHEMA '[["public.table that is external", …], …]': once with each list.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import pg from "pg";
import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from "@prisma/driver-adapter-utils";
import * as bindings from "@prisma/schema-engine-wasm/schema_engine_bg";

const CHAR = 18, TEXT = 25; // object ids of PostgreSQL's types

// The engine reads the catalog's type "char", which the driver adapter does not know.
const charColumns = new WeakMap();
class Pool extends pg.Pool {
  async query(...args) {
    const result = await super.query(...args);
    charColumns.set(result.rows, result.fields.flatMap((field, n) => (field.dataTypeID === CHAR ? [n] : [])));
    for (const field of result.fields) if (field.dataTypeID === CHAR) field.dataTypeID = TEXT;
    return result;
  }
}
class CatalogAdapter extends PrismaPg {
  async connect() {
    const adapter = await super.connect();
    const queryRaw = adapter.queryRaw.bind(adapter);
    adapter.queryRaw = async (query) => {
      const result = await queryRaw(query);
      for (const n of charColumns.get(result.rows) ?? []) result.columnTypes[n] = ColumnTypeEnum.Character;
      return result;
    };
    return adapter;
  }
}

// Node loads no .wasm by import: done here as the package's own loader does it
globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (message) => console.error(message) };
const glue = createRequire(import.meta.url).resolve("@prisma/schema-engine-wasm/schema_engine_bg");
const { instance } = await WebAssembly.instantiate(readFileSync(glue.replace(/js$/, "wasm")), {
  "./schema_engine_bg.js": bindings,
});
bindings.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start();

const [connectionString, schema, external] = process.argv.slice(2);
const files = [{ path: "schema.prisma", content: readFileSync(schema, "utf8") }];
const engine = await bindings.SchemaEngine.new(
  { datamodels: files.map(({ path, content }) => [path, content]) },
  () => {},
  bindMigrationAwareSqlAdapterFactory(new CatalogAdapter(new Pool({ connectionString }))),
);
const found = [];
for (const externalTables of JSON.parse(external)) {
  const { stdout } = await engine.diff({
    from: { tag: "schemaDatasource", files, configDir: "." },
    to: { tag: "schemaDatamodel", files },
    script: true,
    exitCode: true,
    filters: { externalTables, externalEnums: [] },
  });
  found.push(stdout.trim());
}
console.log(JSON.stringify(found));
process.exit(0);
