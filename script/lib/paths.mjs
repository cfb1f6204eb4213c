// Where things are: the repository, and the folder of the running stack (OPGATE_VAR). Used by everything under script/.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const varFolder = () => path.resolve(process.env.OPGATE_VAR || path.join(root, 'var'));
export const inRoot = (...parts) => path.join(root, ...parts);
export const inVar = (...parts) => path.join(varFolder(), ...parts);
