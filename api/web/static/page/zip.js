// A ZIP archive (APPNOTE 6.3.3) of files that are compressed already, so they are stored as they are.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});
const UTF8_NAMES = 0x0800;
const MAX_BYTES = 0xffff_ffff; // without ZIP64

function crc32(bytes) {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffff_ffff) >>> 0;
}

// Write little-endian fields: pairs of a width in bytes and a value.
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [width]) => sum + width, 0)));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

// MS-DOS date and time, as ZIP has them.
function dosTime(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return [time, ((Math.max(1980, date.getFullYear()) - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate()];
}

export class Zip {
  #parts = [];
  #directory = [];
  #offset = 0;
  #names = new Set();

  // Add a file; a name that is taken gets a number. Throws RangeError above 4 GB.
  async add(name, blob) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const encoded = new TextEncoder().encode(this.#free(name));
    if (this.#offset + bytes.length > MAX_BYTES) throw new RangeError("the archive would exceed 4 GB");
    const [time, date] = dosTime(new Date());
    const common = [[2, 20], [2, UTF8_NAMES], [2, 0], [2, time], [2, date], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, encoded.length], [2, 0]];
    const local = record([4, 0x04034b50], ...common);
    this.#directory.push(record([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, this.#offset]), encoded);
    this.#parts.push(local, encoded, blob);
    this.#offset += local.length + encoded.length + bytes.length;
  }

  #free(name) {
    const [, stem, end] = name.match(/^(.*?)(\.[^.]*)?$/);
    let free = name;
    for (let n = 2; this.#names.has(free.toLowerCase()); n += 1) free = `${stem} (${n})${end ?? ""}`;
    this.#names.add(free.toLowerCase());
    return free;
  }

  finish() {
    const size = this.#directory.reduce((sum, part) => sum + part.length, 0);
    const count = this.#names.size;
    const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, this.#offset], [2, 0]);
    return new Blob([...this.#parts, ...this.#directory, end], { type: "application/zip" });
  }
}
