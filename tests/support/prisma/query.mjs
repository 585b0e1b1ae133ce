// Run queries of the platform's Prisma client; print their results as a JSON list.
// node query.mjs DATABASE_URL '[["payment", "findMany", {…}], …]'
import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "./generated/index.js";

const [connectionString, queries] = process.argv.slice(2);
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString }) });
const results = [];
for (const [model, action, args] of JSON.parse(queries)) results.push(await prisma[model][action](args));
console.log(JSON.stringify(results));
await prisma.$disconnect();
