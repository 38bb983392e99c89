// Drives the AWS SDK for JavaScript v3: a JSON command a line in, a JSON answer a line out.
import { createReadStream, createWriteStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  CopyObjectCommand, DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client, paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";

const [endpoint, Bucket] = process.argv.slice(2);
const client = new S3Client({ endpoint, forcePathStyle: true });
const sdk = new URL("./node_modules/@aws-sdk/client-s3/package.json", import.meta.url);

async function save(command, path) {
  const answer = await client.send(command);
  await pipeline(answer.Body, createWriteStream(path));
}

const commands = {
  version: async () => ({ version: JSON.parse(readFileSync(sdk)).version }),
  put: ({ key, path }) => client.send(new PutObjectCommand({ Bucket, Key: key, Body: readFileSync(path) })),
  get: ({ key, path }) => save(new GetObjectCommand({ Bucket, Key: key }), path),
  range: ({ key, path, first, last }) =>
    save(new GetObjectCommand({ Bucket, Key: key, Range: `bytes=${first}-${last}` }), path),
  multipart: ({ key, path, part }) =>
    new Upload({ client, params: { Bucket, Key: key, Body: createReadStream(path) }, partSize: Number(part) }).done(),
  // A stream that does not tell its length.
  stream: ({ key, path }) => {
    const Body = createReadStream(path).pipe(new PassThrough());
    return new Upload({ client, params: { Bucket, Key: key, Body } }).done();
  },
  list: async ({ prefix }) => {
    const sizes = {};
    for await (const page of paginateListObjectsV2({ client }, { Bucket, Prefix: prefix })) {
      for (const item of page.Contents ?? []) sizes[item.Key] = item.Size;
    }
    return { sizes };
  },
  copy: ({ source, target }) => {
    const CopySource = `${Bucket}/${source.split("/").map(encodeURIComponent).join("/")}`;
    return client.send(new CopyObjectCommand({ Bucket, Key: target, CopySource }));
  },
  delete: ({ key }) => client.send(new DeleteObjectCommand({ Bucket, Key: key })),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...given } = JSON.parse(line);
  let answer;
  try {
    const done = (await commands[name](given)) ?? {};
    answer = name === "version" || name === "list" ? done : {};
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}`.slice(0, 2000) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
