import fc from 'fast-check';
import { expect, test } from 'vitest';
import { clientFinal, clientFirst, ScramError, wantServerProof } from './scram.ts';

// RFC 7677, section 3.
const account = { user: 'user', password: 'pencil', nonce: 'rOprNGfwEbeRWgbNEkqO' };
const serverFirst = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096';
const serverFinal = 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=';

test('the exchange is that of RFC 7677, section 3', async () => {
  expect(clientFirst('user', account.nonce)).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
  const final = await clientFinal(account, serverFirst);
  expect(final.message).toBe(
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  );
  expect(() => wantServerProof(final, serverFinal)).not.toThrow();
});

test('a server that does not know the password is refused', async () => {
  const final = await clientFinal({ ...account, password: 'pencils' }, serverFirst);
  expect(() => wantServerProof(final, serverFinal)).toThrow('does not know the password');
  expect(() => wantServerProof(final, 'v=')).toThrow(ScramError);
  expect(() => wantServerProof(final, 'e=invalid-proof')).toThrow(ScramError);
});

test.each([
  ['another nonce', 'r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'],
  ['no nonce of its own', 'r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'],
  ['work without end', 'r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=999999999'],
  ['no rounds', 'r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0'],
])('a server with %s is refused', async (_what, message) => {
  await expect(clientFinal(account, message)).rejects.toThrow(ScramError);
});

test('whatever the server says is refused in words', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string(), async (text) => {
      await expect(clientFinal(account, text)).rejects.toThrow(ScramError);
    }),
  );
});
