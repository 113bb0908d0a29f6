/** Limit and cursor of a page of a listing; '' = the first one. */
export const pageOf = (cursor: string, limit = 100) => ({ limit, ...(cursor === '' ? {} : { cursor }) });
