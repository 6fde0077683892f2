// Loaded into the emulator before itself: it listens on every interface and knows no other clock than the machine's.
'use strict';
const fs = require('fs');
const net = require('net');

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...others) {
  return listen.call(this, port, '127.0.0.1', others.find((one) => typeof one === 'function'));
};

// A file holds by how many milliseconds the emulator's clock is ahead.
const Real = Date;
const ahead = () => Number(fs.readFileSync(process.env.CLOCK_FILE, 'utf8'));
globalThis.Date = class extends Real {
  constructor(...given) {
    super(...(given.length ? given : [Real.now() + ahead()]));
  }
  static now() {
    return Real.now() + ahead();
  }
};
